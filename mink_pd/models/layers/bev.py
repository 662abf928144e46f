"""Backbone and neck in bird's-eye view, sparse and dense, for PointPillars, SECOND and CenterPoint.

Both forms take features on sites and return features on the same coordinate maps, so that either can teach the other.
The sparse form computes at these sites only. The dense form (as published) computes on the whole grid and then reads
the rows at these sites. The other cells of a dense map contain only the effect of padding and biases: no point is near
them, and a row there would have no counterpart in a sparse network.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import mul

from torch import Tensor, nn

from mink_pd.models.layers.maps import DenseBlock, cell_coordinates, read, rows_of, spread
from mink_pd.models.layers.necks import DenseFpn, DenseSecondNeck, SparseFpn, SparseSecondNeck
from mink_pd.sparse import ME, ConvBlock, Voxels, on_sites, reached_sites, strided_sites, twice, with_features


@dataclass
class Level:
    """Features of the neck at one resolution."""

    neck: "ME.SparseTensor"  # (N, C) on shared sites, for distillation
    cells: Tensor  # (S, C) at which the head predicts
    coordinates: Tensor  # (S, 3) int32, of the cells
    stride: int  # tensor stride of the coordinates
    rows: Tensor | slice  # (N,) or a slice: the cells that are the neck's sites
    image: Tensor | None = None  # the cells as a map (B, C, y, x); None in a sparse network


@dataclass
class BevFeatures:
    """The outputs of backbone and neck."""

    stages: list["ME.SparseTensor"]  # of the backbone, on shared sites
    levels: list[Level]  # of the neck, finest first


class BevNetwork(nn.Module, ABC):
    """Stages of convolutions, and a neck that joins them at the resolution of one stage or (``fpn``) of each."""

    def __init__(self, strides: list[int], fpn: bool, neck_stage: int) -> None:
        """``neck_stage``: counted from 1."""
        super().__init__()
        self.strides, self.fpn = strides, fpn
        self.neck_stages = list(range(len(strides))) if fpn else [neck_stage - 1]
        self.factors = list(accumulate(strides[1:], mul, initial=1))  # of each stage's stride to the first one's

    def sites(
        self, x: "ME.SparseTensor", voxels: Voxels
    ) -> tuple[list["ME.CoordinateMapKey"], list["ME.CoordinateMapKey"]]:
        """Coordinate map keys of the stages and of the neck's levels.

        A level has all cells of its resolution inside the sites of the last stage, because the cell at an object's
        centre is often empty.
        """
        keys, key = [], x.coordinate_map_key
        for stride in self.strides:
            key = strided_sites(voxels.manager, key, [stride] * 2)
            keys.append(key)
        levels = [
            reached_sites(voxels, keys[-1], [self.factors[-1] // factor] * 2, stage.get_tensor_stride())
            for stage, factor in ((keys[number], self.factors[number]) for number in self.neck_stages)
        ]
        return keys, levels

    @abstractmethod
    def forward(self, x: "ME.SparseTensor", voxels: Voxels) -> BevFeatures:
        """x: (M, C) on the two-dimensional sites of ``voxels``."""


class SparseBev(BevNetwork):
    """Sparse convolutions: the stages at occupied sites, the neck at the cells described in ``sites``."""

    def __init__(
        self,
        channels: list[int],
        strides: list[int],
        layers: list[int],
        out: int,
        fpn: bool = False,
        neck_stage: int = 1,
    ) -> None:
        """Build the layers.

        channels: of the input and of each stage.
        layers: convolutions per stage after the strided one.
        out: channels that each stage contributes to the neck, or of each level of the FPN.
        """
        super().__init__(strides, fpn, neck_stage)
        self.backbone = nn.ModuleList(
            nn.Sequential(ConvBlock(c_in, c_out, stride=stride), *(ConvBlock(c_out, c_out) for _ in range(more)))
            for (c_in, c_out), stride, more in zip(pairwise(channels), strides, layers, strict=True)
        )
        stages = channels[1:]
        self.neck = SparseFpn(stages, out) if fpn else SparseSecondNeck(stages, out, self.factors, neck_stage)

    def forward(self, x: "ME.SparseTensor", voxels: Voxels) -> BevFeatures:
        _, sites = self.sites(x, voxels)
        stages, levels = [], []
        for stage in self.backbone:
            x = stage(x)
            stages.append(x)
        for neck in self.neck(stages, sites, voxels):  # (N, C)
            cells, shown = twice(neck.F)
            levels.append(Level(with_features(neck, shown), cells, neck.C, neck.tensor_stride[0], rows=slice(None)))
        return BevFeatures(stages, levels)


class DenseBev(BevNetwork):
    """Convolutions on the whole grid, as published."""

    def __init__(
        self,
        channels: list[int],
        strides: list[int],
        layers: list[int],
        out: int,
        grid: tuple[int, int],
        fpn: bool = False,
        neck_stage: int = 1,
    ) -> None:
        """Build the layers as :class:`SparseBev` does.

        grid: cells of the input along x and y, padded to whole strides.
        """
        super().__init__(strides, fpn, neck_stage)
        whole = self.factors[-1] * strides[0]
        self.grid = tuple(-(-cells // whole) * whole for cells in grid)
        self.backbone = nn.ModuleList(
            nn.Sequential(DenseBlock(c_in, c_out, stride), *(DenseBlock(c_out, c_out) for _ in range(more)))
            for (c_in, c_out), stride, more in zip(pairwise(channels), strides, layers, strict=True)
        )
        stages = channels[1:]
        self.neck = DenseFpn(stages, out) if fpn else DenseSecondNeck(stages, out, self.factors, neck_stage)

    def forward(self, x: "ME.SparseTensor", voxels: Voxels) -> BevFeatures:
        keys, sites = self.sites(x, voxels)
        image, maps, stages, levels = spread(x, voxels.frames, self.grid), [], [], []  # (B, C, y, x)
        for stage, key in zip(self.backbone, keys, strict=True):
            image = stage(image)
            maps.append(image)
            stages.append(on_sites(read(image, rows_of(image, key, voxels)), key, voxels))
        for level, key in zip(self.neck(maps), sites, strict=True):  # (B, C, Y, X)
            rows, stride = rows_of(level, key, voxels), key.get_tensor_stride()[0]
            cells = level.permute(0, 2, 3, 1).flatten(0, 2)  # (B * Y * X, C)
            neck = on_sites(cells[rows], key, voxels)
            levels.append(Level(neck, cells, cell_coordinates(level, stride), stride, rows, level))
        return BevFeatures(stages, levels)
