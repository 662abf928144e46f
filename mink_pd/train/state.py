"""The state of a training, from which an interrupted training is resumed."""

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mink_pd.errors import CheckpointError
from mink_pd.files import whole_file
from mink_pd.torch_files import TorchFile


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write the state of a training (only tensors and plain values). Raises DataError if it cannot be written."""
    data = io.BytesIO()  # because torch replaces the error of a full disk by its own
    torch.save(state, data)
    with whole_file(path, "wb") as file:
        file.write(data.getbuffer())


def load_state(path: Path) -> dict[str, Any]:
    """Read the state of a training without executing anything in the file.

    Raises CheckpointError if it is damaged.
    """
    remedy = "--force starts the training again"
    with TorchFile(path, remedy) as file:
        state = file.tensors(file.content)
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: damaged, not the state of a training; {remedy}")
    return state


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
    """Restore the state that ``random_state`` returned."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
