"""Teacher-guided initialisation (SparseKD, Yang et al., NeurIPS 2022)."""

import torch
from torch import Tensor

from mink_pd.config import Config
from mink_pd.errors import DistillError
from mink_pd.models import Detector

INHERITED = "the student starts from a part of the teacher's weights (distill.initialise)"


def first_weights(student: Detector, teacher: Detector, config: Config) -> list[str]:
    """Do what ``distill.initialise`` says. Returns lines for the user: where the student's first weights come from.

    Raises DistillError where the student cannot inherit the teacher's weights and the setting is ``teacher``.
    """
    wanted = config.distill.initialise
    if wanted == "random" or (wanted == "auto" and config.train.initial is not None):
        return []
    reason = misfit(student, teacher)
    if reason is None:
        inherit_weights(student, teacher)
        return [INHERITED]
    if wanted == "auto":
        return [f"the student starts from random weights, for it is no narrower form of the teacher ({reason})"]
    raise DistillError(
        f"distill.initialise: {reason}; the student must be the teacher's network with fewer channels; set"
        " distill.initialise=random"
    )


def misfit(student: Detector, teacher: Detector) -> str | None:
    """Why the student is not the teacher's network with fewer channels; None if it is."""
    theirs, ours = teacher.state_dict(), student.state_dict()
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        have, wanted = (list(state[name].shape) if name in state else [] for state in (theirs, ours))
        fits = len(have) == len(wanted) and all(t >= s for t, s in zip(have, wanted, strict=True))
        if name not in ours or name not in theirs or not fits:
            return f"'{name}' is {have or 'absent'} in the teacher and {wanted or 'absent'} in the student"
    return None


@torch.no_grad()
def inherit_weights(student: Detector, teacher: Detector) -> None:
    """Start the student from a part of the teacher's channels, running statistics included.

    The authors take the first channels of every layer. We take evenly spaced ones: channel k of C_s is the teacher's
    channel floor(k C_t / C_s). The number is the same, and the order of channels means nothing. Even spacing needs no
    knowledge of how layers are joined: where branches that shrink alike are concatenated, each keeps its own channels.
    Inputs that do not shrink alike are chosen within groups that the detector names (``Detector.input_groups``).
    The student must be the teacher's network with fewer channels (``misfit``).
    """
    theirs, ours = teacher.state_dict(), student.state_dict()
    groups, wanted_groups = teacher.input_groups(), student.input_groups()
    for name, value in ours.items():
        weights = theirs[name]
        if name in groups:
            inputs = within_groups(groups[name], wanted_groups[name]).to(weights.device)
            weights = weights.index_select(1, inputs)
        value.copy_(spaced(weights, value.shape))


def within_groups(groups: Tensor, wanted: Tensor) -> Tensor:
    """For each of the student's inputs, of group ``wanted`` (C_s,), an input of the teacher's, of ``groups`` (C_t,):
    int64 (C_s,), evenly spaced within each group."""
    chosen = torch.empty_like(wanted)
    for group in wanted.unique():
        here = torch.nonzero(groups == group)[:, 0]
        rows = torch.nonzero(wanted == group)[:, 0]
        chosen[rows] = spaced(here, rows.shape)
    return chosen


def spaced(weights: Tensor, shape: torch.Size) -> Tensor:
    """Evenly spaced entries of ``weights`` along every dimension that is larger than in ``shape``."""
    for dimension, wanted in enumerate(shape):
        have = weights.shape[dimension]
        index = torch.arange(wanted, device=weights.device) * have // max(wanted, 1)
        weights = weights.index_select(dimension, index)
    return weights
