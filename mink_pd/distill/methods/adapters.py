"""Maps from the student's channels to the teacher's."""

from torch import Tensor, nn

from mink_pd.distill.methods.method import Channels
from mink_pd.distill.pairs import TapPair


class Adapters(nn.ModuleDict):
    """For each tap a 1 x 1 convolution, which on sparse rows is one linear map of each; ``norm``: batch norm after it.

    The teacher's features have none, so the two cannot agree to shrink.
    """

    def __init__(self, channels: Channels, *, norm: bool = False) -> None:
        super().__init__({tap: _adapter(ours, theirs, norm) for tap, (theirs, ours) in channels.items()})

    def forward(self, pair: TapPair, rows: Tensor | None = None) -> Tensor:
        """The student's features (M, C_t), or those of ``rows`` (n,) only: (n, C_t)."""
        features = pair.student.features
        return self[pair.name](features if rows is None else features[rows])


def _adapter(ours: int, theirs: int, norm: bool) -> nn.Module:
    if norm:
        return nn.Sequential(nn.Linear(ours, theirs, bias=False), nn.BatchNorm1d(theirs))
    return nn.Linear(ours, theirs)
