"""Checkpoints: a detector's weights (safetensors, configuration inside) and a training's state."""

import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from mink_pd.config import Config, validate
from mink_pd.config_models import DetectorConfig
from mink_pd.data.files import whole_file
from mink_pd.errors import CheckpointError, ConfigError

FORMAT = "mink_pd detector 1"


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
        raise CheckpointError(f"{path}: holds no mink_pd configuration; give a checkpoint that tools/train.py wrote")
    try:
        return validate(json.loads(metadata["config"]), {}, str(path))
    except (KeyError, ValueError, ConfigError) as error:
        text = f"{path}: its configuration does not fit this version of mink_pd ({error}); train it again"
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


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write the state of a training (tensors and plain values only)."""
    with whole_file(path, "wb") as file:
        torch.save(state, file)


def load_state(path: Path) -> dict[str, Any]:
    """Read the state of a training; nothing in the file is executed.

    Raises CheckpointError if it is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        raise CheckpointError(f"{path}: damaged; --force starts the training again") from None


def random_state() -> dict[str, Any]:
    """The state of all global random number generators of this process, as tensors and plain values."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (
            kind,
            torch.from_numpy(np.asarray(keys, np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ),
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what ``random_state`` gave."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
