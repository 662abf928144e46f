"""Opening other frameworks' checkpoints without running anything that is in them."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mink_pd.errors import CheckpointError
from mink_pd.files import DAMAGED


def read_tensors(path: Path, key: str) -> dict[str, Tensor]:
    """The tensors under ``key`` of a file that torch saved, by name.

    Raises CheckpointError if the file is missing or damaged, asks for anything but tensors and plain values, or holds
    no tensors under ``key``.
    """
    content = _load(path)
    tensors = content.get(key) if isinstance(content, dict) else None
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        held = ", ".join(map(str, content)) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise CheckpointError(f"{path}: has no tensors under '{key}', only {held}; is --format right?")
    return dict(tensors)


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; give a checkpoint that torch saved") from None
    except DAMAGED as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked:
            text = f"refused: its pickle asks for {asked[1]}, and loading that would run it; only tensors are read"
        else:
            text = "damaged, or not a checkpoint that torch saved; copy it again"
        raise CheckpointError(f"{path}: {text}") from None
