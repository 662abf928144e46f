"""What stands before the backbone: from voxels to features on sites seen from above."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from mink_pd.sparse import ME, Voxels


class BevEncoder(nn.Module, ABC):
    """Features of voxels or pillars, on sites of two dimensions.

    dimensions: of the voxels, 3, or 2 for pillars; first_cell: the coordinates of the cell at the range's lower corner;
    stride: tensor stride of the sites that ``encode`` gives; tap: the name of its output as a tap, None if it is none.
    """

    dimensions: ClassVar[int]
    first_cell: ClassVar[tuple[int, int, int]] = (0, 0, 0)
    stride: ClassVar[int]
    tap: ClassVar[str | None] = None

    @property
    @abstractmethod
    def channels_out(self) -> int:
        """Channels of the features that ``encode`` gives."""

    @abstractmethod
    def encode(self, voxels: Voxels) -> tuple["ME.SparseTensor", Voxels]:
        """Features (S, channels_out) on sites of two dimensions, and the columns of the voxels that hold these sites:
        the voxels themselves where they are pillars."""

    def groups(self) -> Tensor | None:
        """Which of the output channels belong together, int64 (channels_out,), where they come from several places
        stacked; see ``Detector.input_groups``."""
        return None
