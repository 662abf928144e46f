"""The sparse 3D encoder of SECOND (Yan et al., Sensors 2018), from voxels to bird's-eye-view features."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from mink_pd.config import Config
from mink_pd.config.models import VoxelEncoderConfig
from mink_pd.models.compress import width
from mink_pd.models.layers.encoder import BevEncoder
from mink_pd.sparse import ME, Bounds, ConvBlock, Voxels, reached_sites, seen_from_above, segment_mean, with_features
from mink_pd.sparse.voxels import grid_shape

# The published encoder halves z several times. It pads the first halvings by one cell and the last two by none, so that
# the kernels of the last two are centred half a stride higher. On a grid that begins four cells below the range all
# kernels are centred on multiples of their stride, as MinkowskiEngine requires.
LIFT = 4


def mean_features(voxels: Voxels, limit: int | None, columns: int = 4) -> Tensor:
    """Mean x, y, z, intensity (M, columns) of each voxel's points, or of its first ``limit`` points."""
    voxels = voxels if limit is None else voxels.limited(limit)
    return segment_mean(voxels.points[:, :columns], voxels.rows, voxels.counts)


class SparseEncoder(BevEncoder):
    """Four stages at strides 1, 2, 4, 8 and a last halving of z, with the sites of the published encoder.

    A strided convolution writes to every cell of the grid that any input reaches (spconv's SparseConv3d). The other
    convolutions keep the sites of their input (submanifold, Graham et al. 2018).
    """

    dimensions = 3
    first_cell = (0, 0, LIFT)
    stride = 8

    def __init__(
        self,
        channels: list[int],
        cells: tuple[int, ...],
        point_features: int = 4,
        max_points: int | None = None,
        residual: bool = False,
    ) -> None:
        """Build the layers.

        channels: of the four stages and of the output.
        cells: of the grid along x, y, z.
        max_points: number of points per voxel that are used; None: all.
        residual: use two residual blocks per stage, as CenterPoint does, instead of SECOND's stride-1 convolutions.
        """
        super().__init__()
        self.point_features, self.max_points, self.residual = point_features, max_points, residual
        block = partial(ConvBlock, dimension=3)
        first, *_, last, out = channels
        self.out = out
        same: Callable[[int], list[nn.Module]] = _two_residuals if residual else lambda c: [block(c, c), block(c, c)]
        self.first = nn.Sequential(
            block(point_features, first), *(_two_residuals(first) if residual else [block(first, first)])
        )
        self.down = nn.ModuleList(block(c_in, c_out, stride=2) for c_in, c_out in pairwise(channels[:-1]))
        self.same = nn.ModuleList(nn.Sequential(*same(c)) for c in channels[1:-1])
        self.height = block(last, out, kernel=(1, 1, 3), stride=(1, 1, 2))
        self.cells = cells
        # Levels after the last convolution: 41 layers (one more than cells) -> 21 -> 11 -> 5 -> 2. Other heights are
        # padded with empty layers until the unpadded halvings are exact.
        self.levels = max(1, -(-(cells[2] // 4 + 1 - 3) // 4))

    @classmethod
    def of(cls, config: Config) -> "SparseEncoder":
        """The encoder that ``config.model`` describes."""
        model, data = config.model, config.data
        assert isinstance(model, VoxelEncoderConfig)
        channels = [width(c, model.compression) for c in model.encoder_channels]
        cells = grid_shape(data.range, model.voxel_size)
        return cls(channels, cells, data.point_features, model.max_points, model.residual)

    @property
    def channels_out(self) -> int:
        return self.levels * self.out

    def groups(self) -> Tensor:
        """The levels of height as groups: channel c of level l is output c * levels + l."""
        return torch.arange(self.channels_out) % self.levels

    def encode(self, voxels: Voxels) -> tuple["ME.SparseTensor", Voxels]:
        """Mean of each voxel -> stages -> stacked levels of height (S, levels * out) at stride 8."""
        x = voxels.tensor(mean_features(voxels, self.max_points, self.point_features))  # (M, 4)
        encoded = self(x, voxels)[-1]  # (E, 128), stride 8, 16 along z
        columns = voxels.columns()
        return seen_from_above(encoded, columns, self.levels, lowest=16), columns  # (S, 256), stride 8

    def forward(self, x: "ME.SparseTensor", voxels: Voxels) -> list["ME.SparseTensor"]:
        """The outputs of the four stages and of the last layer, (E, 128) at stride 8 and 16 along z, from x (M, 4)."""
        x = self.first(x)  # (M, 16), the voxels' own sites
        outputs = [x]
        for stride, down, same in zip((2, 4, 8), self.down, self.same, strict=True):
            x = same(down(x, self.sites(x, voxels, (3, 3, 3), (stride,) * 3)))
            outputs.append(x)  # (M2, 32), (M3, 64), (M4, 64)
        return [*outputs, self.height(x, self.sites(x, voxels, (1, 1, 3), (8, 8, 16)))]

    def sites(
        self, x: "ME.SparseTensor", voxels: Voxels, kernel: tuple[int, ...], stride: tuple[int, ...]
    ) -> "ME.CoordinateMapKey":
        """The cells of a stride within the grid that a kernel reaches from the sites of x."""
        return reached_sites(voxels, x.coordinate_map_key, kernel, stride, self.bounds(stride))

    def bounds(self, stride: tuple[int, ...]) -> Bounds:
        """Lowest and highest coordinates of the published grid at a stride. Along x and y there are cells / stride
        cells, rounded up; along z those whose kernels are entirely within the layers."""
        low = (0, 0, max(LIFT, stride[2]))
        high = tuple((-(-n // step) - 1) * step for n, step in zip(self.cells[:2], stride[:2], strict=True))
        return low, (*high, 16 * (self.levels + 1) - stride[2])


class ResidualBlock(nn.Module):
    """x + norm(conv(ConvBlock(x))), then ReLU, on the sites of x (He et al., CVPR 2016, figure 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels, dimension=3)
        self.second = ConvBlock(channels, channels, dimension=3, relu=False)

    def forward(self, x: "ME.SparseTensor") -> "ME.SparseTensor":
        y = self.second(self.first(x))
        return with_features(y, torch.relu(x.F + y.F))


def _two_residuals(channels: int) -> list[nn.Module]:
    return [ResidualBlock(channels), ResidualBlock(channels)]
