"""Linear maps from the student's channels to the teacher's."""

from typing import Any, ClassVar

from torch import Tensor, nn

from mink_pd.distill.methods.base import Channels, Method
from mink_pd.distill.pairs import TapPair
from mink_pd.sparse.norm import BatchNorm


class AdaptedMethod(Method):
    """A method that maps the student's features to the teacher's channels by a 1 x 1 convolution (a linear map per
    row).

    The teacher's features are not mapped, so the two networks cannot shrink their features together.
    """

    norm: ClassVar[bool] = False  # batch norm after the map

    def __init__(self, name: str, settings: Any, channels: Channels) -> None:
        super().__init__(name, settings, channels)
        self.adapters = nn.ModuleDict({tap: self._adapter(ours, theirs) for tap, (theirs, ours) in channels.items()})

    def adapt(self, pair: TapPair, rows: Tensor | None = None) -> Tensor:
        """The student's features (M, C_t), or those of ``rows`` (n,) only: (n, C_t)."""
        features = pair.student.features
        return self.adapters[pair.name](features if rows is None else features[rows])

    def _adapter(self, ours: int, theirs: int) -> nn.Module:
        if self.norm:
            return nn.Sequential(nn.Linear(ours, theirs, bias=False), BatchNorm(theirs))
        return nn.Linear(ours, theirs)
