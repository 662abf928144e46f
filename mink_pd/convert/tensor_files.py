"""Opening other frameworks' checkpoints without running anything that is in them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mink_pd.errors import CheckpointError
from mink_pd.models.checkpoint import check_weights
from mink_pd.torch_files import TorchFile
from mink_pd.torch_pickle import LazyTensor

PARALLEL = "module."  # what torch's DataParallel puts before every name
# Where a file says which version wrote it, the first one whose boxes are as in configs/published, and its name.
_VERSIONS = (
    (("meta", "mmdet3d_version"), (1, 0), "MMDetection3D"),
    (("version",), (0, 2), "OpenPCDet"),
)


def read_tensors(path: Path, key: str) -> dict[str, Tensor]:
    """The tensors under ``key`` of a file that torch saved, by name; ``module.`` before all names is left out.

    Objects elsewhere in the file are not built. Raises CheckpointError if the file is missing, damaged or of a version
    with other boxes, asks for more than data, holds no tensors under ``key``, or numbers that no detector works with.
    """
    with TorchFile(path) as file:
        content = file.content
        found = content.get(key) if isinstance(content, dict) else None
        if not isinstance(found, dict) or not all(isinstance(tensor, LazyTensor) for tensor in found.values()):
            held = f"a {type(content).__name__}"
            if isinstance(content, dict):
                held = ", ".join(map(str, list(content)[:10])).encode("ascii", "replace").decode()[:200]
            raise CheckpointError(f"{path}: has no tensors under '{key}', only {held}; is --format right?")
        _check_version(path, content)
        tensors = {str(name): file.tensor(tensor) for name, tensor in found.items()}
    if tensors and all(name.startswith(PARALLEL) for name in tensors):
        tensors = {name.removeprefix(PARALLEL): tensor for name, tensor in tensors.items()}
    check_weights(path, tensors)
    return tensors


@dataclass(frozen=True)
class Stated:
    """What a file says of its weights' training: the classes in their order, empty where it names none; the text of the
    framework's configuration, empty where it has none."""

    classes: tuple[str, ...]
    settings: str


def read_stated(path: Path) -> Stated:
    """What MMDetection3D and det3d write beside the weights; OpenPCDet writes neither. Raises CheckpointError as
    :func:`read_tensors` does."""
    with TorchFile(path) as file:
        meta = file.content.get("meta") if isinstance(file.content, dict) else None
    if not isinstance(meta, dict):
        return Stated((), "")
    data = meta.get("dataset_meta")
    sections = (data, meta) if isinstance(data, dict) else (meta,)
    lists = [section.get(key) for section in sections for key in ("classes", "CLASSES")]
    classes = next((names for names in map(_names, lists) if names), ())
    return Stated(classes, "\n".join(text for key in ("cfg", "config") if isinstance(text := meta.get(key), str)))


def _names(value: Any) -> tuple[str, ...]:
    """A list of texts; empty for anything else."""
    is_list = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    return tuple(value) if is_list else ()


def _check_version(path: Path, content: Any) -> None:
    """Raise CheckpointError for weights of a version whose boxes have another yaw and order of sizes."""
    for keys, first, framework in _VERSIONS:
        value = content
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        numbers = re.search(r"(\d+)\.(\d+)", value) if isinstance(value, str) else None
        if numbers and (int(numbers[1]), int(numbers[2])) < first:
            wanted = ".".join(map(str, first))
            raise CheckpointError(
                f"{path}: was written by {framework} {numbers[0]}, before {wanted} changed the yaw and the order of the"
                " sizes of boxes; convert it there first, or take later weights"
            )
