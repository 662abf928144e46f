"""Maps from the student's channels to the teacher's."""

from typing import Any, ClassVar

from torch import Tensor, nn

from mink_pd.distill.methods.method import Channels, Method
from mink_pd.distill.pairs import TapPair
from mink_pd.sparse.norm import BatchNorm


class AdaptedMethod(Method):
    """A method whose student passes a 1 x 1 convolution to the teacher's channels: on sparse rows, one linear map.

    The teacher's features pass none, so the two cannot agree to shrink.
    """

    norm: ClassVar[bool] = False  # batch norm behind the map

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
