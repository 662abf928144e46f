"""The base class of encoders: from voxels to features on bird's-eye-view sites, the input of the backbone."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from mink_pd.sparse import ME, Voxels


class BevEncoder(nn.Module, ABC):
    """Features of voxels or pillars on two-dimensional sites.

    dimensions: 3 for voxels, 2 for pillars.
    first_cell: coordinates of the cell at the range's lower corner.
    stride: tensor stride of the sites that ``encode`` returns.
    tap: name of the output as a tap; None if it is not one.
    """

    dimensions: ClassVar[int]
    first_cell: ClassVar[tuple[int, int, int]] = (0, 0, 0)
    stride: ClassVar[int]
    tap: ClassVar[str | None] = None

    @property
    @abstractmethod
    def channels_out(self) -> int:
        """Channels of the features that ``encode`` returns."""

    @abstractmethod
    def encode(self, voxels: Voxels) -> tuple["ME.SparseTensor", Voxels]:
        """Features (S, channels_out) on two-dimensional sites, and the voxels projected to two dimensions, to which the
        sites belong. Pillars are their own projection."""

    def groups(self) -> Tensor | None:
        """Group numbers int64 (channels_out,) of the output channels if they stack several levels of height, else
        None; see ``Detector.input_groups``."""
        return None
