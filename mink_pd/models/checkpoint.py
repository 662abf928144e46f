"""Checkpoints: a detector's weights in a safetensors file that also contains its configuration."""

import json
import math
from pathlib import Path
from typing import Any, Literal

from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mink_pd.config import Config, validate
from mink_pd.config.models import DetectorConfig
from mink_pd.errors import CheckpointError, ConfigError
from mink_pd.files import check_regular, reading, whole_file
from mink_pd.models import build_detector
from mink_pd.models.detector import Detector

FORMAT = "mink_pd detector 1"
ENGINE_MAGIC = b"\x89MINKPD\n"  # the start of the engine's files, which are no checkpoints
WEIGHTS = "checkpoints/{}.safetensors"  # inside a run folder, by Which
HEADER = 4_000_000  # largest safetensors header [bytes]
SLACK = 4_000_000  # numbers that a detector may allocate in addition to its weights
Which = Literal["last", "best"]


def save_weights(path: Path, tensors: dict[str, Tensor], config: Config, epoch: int) -> None:
    """Write a detector's tensors. The metadata contain the configuration, so that the file is self-contained."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"format": FORMAT, "epoch": str(epoch), "config": config.model_dump_json()}
    with whole_file(path, "wb") as file:
        file.write(serialise(plain, metadata))


def read_config(path: Path) -> Config:
    """The configuration inside a weights file.

    Raises CheckpointError if the file is missing, damaged, or not one that ``save_weights`` wrote.
    """
    metadata, _ = _read_header(path)
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: lacks a mink_pd configuration; give a checkpoint that mink-pd train wrote")
    try:
        with reading(path, CheckpointError, "train it again"):
            tree = json.loads(metadata["config"])
            return validate(tree, {}, str(path), load_plugins=False)
    except ConfigError as error:
        remedy = f"give --plugin {' '.join(map(str, tree['plugins']))}" if tree.get("plugins") else "train it again"
        text = f"{path}: its configuration does not fit this version of mink_pd ({error}); {remedy}"
        raise CheckpointError(text) from None


def read_epoch(path: Path) -> int:
    """The number of epochs for which the weights in a file were trained. Raises CheckpointError."""
    with reading(path, CheckpointError, "train it again"):
        return int(_read_header(path)[0]["epoch"])


def _read_header(path: Path) -> tuple[dict[str, str], dict[str, list[int]]]:
    """The metadata of a safetensors file, and the shape of each tensor. No tensor is read.

    Raises CheckpointError if the file is missing, damaged or the engine's, or if its header claims more than the file
    contains.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint; give a run folder or a .safetensors file")
    check_regular(path, CheckpointError, "give a run folder or a .safetensors file")
    with reading(path, CheckpointError, "copy or train it again"):
        with path.open("rb") as file:
            start = file.read(8)
            if start == ENGINE_MAGIC:
                raise CheckpointError(
                    f"{path}: is a file for minkpd-detect and libminkpd; give the run that it was exported from"
                )
            length = int.from_bytes(start, "little")
            if not 0 < length <= min(HEADER, path.stat().st_size - 8):
                raise ValueError("not a safetensors file")
        with safe_open(path, "pt") as opened:  # checks that the tensors fill the file, and no more
            shapes = {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118
            return opened.metadata() or {}, shapes


def load_weights(path: Path, detector: nn.Module, config: Config) -> None:
    """Load a weights file into ``detector``, which ``config`` describes.

    Raises CheckpointError that names the first tensor that is missing, superfluous, of another shape, or not finite.
    """
    own = read_config(path)
    with reading(path, CheckpointError, "copy or train it again"):
        found = load_file(path)
    wanted = detector.state_dict()
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        shapes = [list(tensors[name].shape) if name in tensors else None for tensors in (found, wanted)]
        if shapes[0] != shapes[1]:
            in_file, in_config = ("absent" if shape is None else str(tuple(shape)) for shape in shapes)
            raise CheckpointError(
                f"{path}: another architecture: '{name}' is {in_file} in the file and {in_config} in the"
                f" configured detector; {_remedy(own.model, config.model)}"
            )
    check_weights(path, found, wanted)
    detector.load_state_dict(found)


def check_weights(path: Path, tensors: dict[str, Tensor], wanted: dict[str, Tensor] | None = None) -> None:
    """Raise CheckpointError that names the first unusable tensor, with which a detector would silently find nothing.

    A tensor is unusable if it contains a number that is NaN, infinite or too large for float32, or a negative variance,
    or if it has another type than in ``wanted``.
    """
    for name, tensor in tensors.items():
        what = None
        if wanted is not None and tensor.is_floating_point() != wanted[name].is_floating_point():
            what = f"has numbers of type {tensor.dtype}"
        elif tensor.is_floating_point() and not tensor.float().isfinite().all():
            what = "has NaN or infinite numbers"
        elif name.endswith("running_var") and (tensor < 0).any():
            what = "has negative variances"
        if what is not None:
            raise CheckpointError(
                f"{path}: '{name}' {what}; the training diverged or the file is damaged; use another checkpoint"
            )


def _remedy(in_file: DetectorConfig, configured: DetectorConfig) -> str:
    """What the user can do if two model sections differ."""
    for key, value in in_file.model_dump(mode="json").items():  # the detector's name comes first
        other = configured.model_dump(mode="json").get(key)
        if value != other and not isinstance(value, dict):
            return f"model.{key} is {value} in the file and {other} here; set model.{key}={json.dumps(value)}"
    return "give the configuration that it was trained with"


def checkpoint_file(path: Path, which: Which = "last") -> Path:
    """The weights file of a run folder, or ``path`` itself if it is a file.

    Raises CheckpointError if there is none.
    """
    if not path.is_dir():
        return path
    file = path / WEIGHTS.format(which)
    if not file.is_file():
        raise CheckpointError(f"{file}: no such checkpoint; is {path} a run folder, and has it finished an epoch?")
    return file


def load_detector(path: Path, config: Config | None = None, which: Which = "last") -> tuple[Detector, Config]:
    """A trained detector in evaluation mode on the CPU, and the configuration that describes it.

    path: run folder or ``.safetensors`` file. It may have been moved since the training, and so may the data.
    config: the configuration that the file must agree with; None: the configuration in the file.
    Raises CheckpointError if the file is missing, damaged, or of another architecture.
    """
    file = checkpoint_file(path, which)
    own = read_config(file)
    config = own if config is None else config
    detector = _build_bounded(file, config)
    load_weights(file, detector, config)
    return detector.eval(), config


class _Bounded(TorchDispatchMode):
    """Limits the building of a network to the size of a weights file: an allocation of more numbers or tensors than the
    file can fill raises an error, and random initial values, which the file's replace, are not drawn."""

    def __init__(self, path: Path, shapes: dict[str, list[int]]) -> None:
        super().__init__()
        self.path = path
        self.numbers = SLACK + 4 * sum(math.prod(shape) for shape in shapes.values())
        self.tensors = 1000 + 20 * len(shapes)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: otherwise torch imports its compiler at the first call, for a second, only to switch it off."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("uniform_", "normal_"):
            return args[0]
        if name in ("empty", "zeros", "ones", "full", "arange"):
            sizes = args[0] if isinstance(args[0], list | tuple) else [args[-1]]
            self.numbers -= math.prod(int(size) for size in sizes)
            self.tensors -= 1
            if self.numbers < 0 or self.tensors < 0:
                raise CheckpointError(
                    f"{self.path}: its configuration describes a larger network than its tensors; it is damaged,"
                    " copy or train it again"
                )
        return func(*args, **(kwargs or {}))


def _build_bounded(path: Path, config: Config) -> Detector:
    """The detector of ``config`` before its weights are loaded. Raises CheckpointError if the file is too small."""
    with _Bounded(path, _read_header(path)[1]):
        return build_detector(config)
