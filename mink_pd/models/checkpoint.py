"""Checkpoints: a detector's weights (safetensors, configuration inside) and a training's state."""

import json
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from mink_pd.config import Config, validate
from mink_pd.config.models import DetectorConfig
from mink_pd.errors import CheckpointError, ConfigError
from mink_pd.files import whole_file
from mink_pd.models import build_detector
from mink_pd.models.detector import Detector

FORMAT = "mink_pd detector 1"
WEIGHTS = "checkpoints/{}.safetensors"  # inside a run folder, by Which
Which = Literal["last", "best"]


def save_weights(path: Path, tensors: dict[str, Tensor], config: Config, epoch: int) -> None:
    """Write a detector's tensors, with the configuration in the metadata so that the file can stand alone."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"format": FORMAT, "epoch": str(epoch), "config": config.model_dump_json()}
    with whole_file(path, "wb") as file:
        file.write(serialise(plain, metadata))


def read_config(path: Path) -> Config:
    """The configuration inside a weights file.

    Raises CheckpointError if the file is missing, damaged, or not one that ``save_weights`` wrote.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError):
        raise CheckpointError(_unreadable(path)) from None
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: holds no mink_pd configuration; give a checkpoint that mink-pd train wrote")
    try:
        tree = json.loads(metadata["config"])
        return validate(tree, {}, str(path), load_plugins=False)
    except (KeyError, ValueError, ConfigError) as error:
        remedy = f"give --plugin {' '.join(tree['plugins'])}" if tree.get("plugins") else "train it again"
        text = f"{path}: its configuration does not fit this version of mink_pd ({error}); {remedy}"
        raise CheckpointError(text) from None


def load_weights(path: Path, detector: nn.Module, config: Config) -> None:
    """Load a weights file into ``detector``, which ``config`` describes.

    Raises CheckpointError naming the first tensor that is missing, in excess, or of another shape.
    """
    own = read_config(path)
    try:
        found = load_file(path)
    except (OSError, SafetensorError):
        raise CheckpointError(_unreadable(path)) from None
    wanted = detector.state_dict()
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        shapes = [list(tensors[name].shape) if name in tensors else None for tensors in (found, wanted)]
        if shapes[0] != shapes[1]:
            in_file, in_config = ("absent" if shape is None else str(tuple(shape)) for shape in shapes)
            raise CheckpointError(
                f"{path}: another architecture: '{name}' is {in_file} in the file and {in_config} in the"
                f" configured detector; {_remedy(own.model, config.model)}"
            )
    detector.load_state_dict(found)


def _remedy(in_file: DetectorConfig, configured: DetectorConfig) -> str:
    """What to do about two model sections, in the words of the configuration."""
    for key, value in in_file.model_dump(mode="json").items():  # the detector's name comes first
        other = configured.model_dump(mode="json").get(key)
        if value != other and not isinstance(value, dict):
            return f"model.{key} is {value} in the file, {other} here: set model.{key}={json.dumps(value)}"
    return "give the configuration that it was trained with"


def _unreadable(path: Path) -> str:
    if not path.exists():
        return f"{path}: no such checkpoint; give a run folder or a .safetensors file"
    return f"{path}: damaged, or not a safetensors file; copy or train it again"


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

    path: run folder or ``.safetensors`` file. config: the detector that it must be; None: the one that the
    file says it is. Neither depends on where the run folder or the data were at the time of training.
    Raises CheckpointError if the file is missing, damaged, or of another architecture.
    """
    file = checkpoint_file(path, which)
    config = read_config(file) if config is None else config
    detector = build_detector(config)
    load_weights(file, detector, config)
    return detector.eval(), config
