"""Initial weights of a training: the tensors of another detector's checkpoint that fit."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from mink_pd.errors import CheckpointError
from mink_pd.files import reading
from mink_pd.models.checkpoint import check_weights, read_config
from mink_pd.models.detector import Detector

HEAD = "head"  # modules of this name predict classes and their boxes


@dataclass
class Taken:
    """The tensors of a detector that were taken from ``path``, and the others."""

    path: Path
    taken: list[str] = field(default_factory=list)
    fresh: dict[str, str] = field(default_factory=dict)  # tensors that keep random values, and why
    unused: list[str] = field(default_factory=list)  # tensors of the file that the detector lacks

    def lines(self) -> list[str]:
        """Lines for the user, by module."""
        modules = Counter(_module(name) for name in self.taken)
        listed = ", ".join(f"{module} ({count})" for module, count in modules.items())
        result = [f"{self.path}: {len(self.taken)} of {len(self.taken) + len(self.fresh)} tensors taken: {listed}"]
        result += [f"  fresh: {name}, {why}" for name, why in self.fresh.items()]
        if self.unused:
            result.append(f"  not used: {', '.join(self.unused)}")
        return result


@torch.no_grad()
def take_weights(detector: Detector, path: Path) -> Taken:
    """Copy into ``detector`` every tensor of a weights file that has the same name and shape.

    If the classes or their order differ, the heads keep their random values, because their channels have another
    meaning. Raises CheckpointError if the file is damaged or no tensor fits.
    """
    own = read_config(path)
    with reading(path, CheckpointError, "copy or train it again"):
        found = load_file(path)
    check_weights(path, found)
    wanted = detector.state_dict()
    same_classes = list(own.data.classes) == detector.classes
    result = Taken(path, unused=[name for name in found if name not in wanted])
    for name, tensor in wanted.items():
        why = _why_fresh(name, tensor, found, same_classes)
        if why is None:
            tensor.copy_(found[name])
            result.taken.append(name)
        else:
            result.fresh[name] = why
    if not any(wanted[name].is_floating_point() for name in result.taken):
        name, why = next(iter(result.fresh.items()))
        raise CheckpointError(
            f"{path}: no tensor fits ({own.model.name} in the file, {detector.config.model.name} here;"
            f" '{name}' is {why}); choose another train.initial, or unset it"
        )
    return result


def _why_fresh(name: str, tensor: Tensor, found: dict[str, Tensor], same_classes: bool) -> str | None:
    """Why a tensor is not taken; None if it is."""
    if name not in found:
        return "missing in the file"
    if found[name].shape != tensor.shape:
        return f"{tuple(found[name].shape)} in the file and {tuple(tensor.shape)} here"
    if found[name].is_floating_point() != tensor.is_floating_point():
        return f"of type {found[name].dtype} in the file"
    return None if same_classes or HEAD not in name.split(".") else "of other classes"


def _module(name: str) -> str:
    """The module of a tensor: the first two parts of its name."""
    return ".".join(name.split(".")[:2])
