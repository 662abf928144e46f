"""Teacher-guided initialisation (SparseKD, Yang et al., NeurIPS 2022)."""

import torch
from torch import Tensor

from mink_pd.errors import DistillError
from mink_pd.models import Detector


@torch.no_grad()
def inherit_weights(student: Detector, teacher: Detector) -> None:
    """Start the student from a part of the teacher's channels, running statistics included.

    The authors' configurations take the first channels of every layer. Channels of a network have no order, so ours are
    evenly spaced (channel k of C_s is the teacher's floor(k C_t / C_s)): the same number of channels, but where
    branches that shrink alike are concatenated, each keeps its own without our knowing how layers are joined.
    Raises DistillError where the student is not the teacher's architecture with fewer channels.
    """
    theirs, ours = teacher.state_dict(), student.state_dict()
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        have, wanted = (list(state[name].shape) if name in state else [] for state in (theirs, ours))
        fits = len(have) == len(wanted) and all(t >= s for t, s in zip(have, wanted, strict=True))
        if name not in ours or name not in theirs or not fits:
            raise DistillError(
                f"distill.initialise: '{name}' is {have or 'absent'} in the teacher and {wanted or 'absent'} in the "
                "student, which must be the same network with fewer channels; set distill.initialise=random"
            )
    for name, value in ours.items():
        value.copy_(spaced(theirs[name], value.shape))


def spaced(weights: Tensor, shape: torch.Size) -> Tensor:
    """Evenly spaced entries of ``weights`` along every dimension that is larger than ``shape``'s."""
    for dimension, wanted in enumerate(shape):
        have = weights.shape[dimension]
        index = torch.arange(wanted, device=weights.device) * have // max(wanted, 1)
        weights = weights.index_select(dimension, index)
    return weights
