"""Backbone and neck in the bird's-eye view, sparse and dense, as PointPillars and SECOND share them.

Both forms take features on sites and give features on the same coordinate maps, so that either can teach the other:
the sparse form computes at these sites only, the dense one (as published) on the whole grid, of which it then reads
the rows at these sites. The other cells of a dense map hold what padding and biases make of nothing: no point is
near them, and a row there would have no counterpart in a sparse network.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import mul

import torch
from torch import Tensor, nn

from mink_pd.sparse import ME, ConvBlock, Voxels, reached_sites, strided_sites
from mink_pd.sparse.layers import EPSILON, MOMENTUM
from mink_pd.sparse.norm import BatchNorm


@dataclass
class BevFeatures:
    """stages, neck: features on shared sites, for distillation; cells (S, C): features of the neck where anchors
    stand, at coordinates int32 (S, 3) of a tensor stride; rows (N,): which of the cells the neck's sites are."""

    stages: list["ME.SparseTensor"]
    neck: "ME.SparseTensor"
    cells: Tensor
    coordinates: Tensor
    stride: int
    rows: Tensor


class BevNetwork(nn.Module, ABC):
    """Stages of convolutions, each brought to the first one's resolution and concatenated there."""

    def __init__(self, strides: list[int]) -> None:
        super().__init__()
        self.strides = strides
        self.factors = list(accumulate(strides[1:], mul, initial=1))  # of each stage's stride to the first one's

    def sites(self, x: "ME.SparseTensor", voxels: Voxels) -> tuple[list["ME.CoordinateMapKey"], "ME.CoordinateMapKey"]:
        """Coordinate map keys of the stages and of the neck.

        An object's centre is often an empty cell: the neck has every cell of the first stage's resolution that lies
        in a site of the last stage.
        """
        keys, key = [], x.coordinate_map_key
        for stride in self.strides:
            key = strided_sites(voxels.manager, key, [stride] * 2)
            keys.append(key)
        fine = keys[0].get_tensor_stride()
        return keys, reached_sites(voxels, keys[-1], [self.factors[-1]] * 2, fine)

    @abstractmethod
    def forward(self, x: "ME.SparseTensor", voxels: Voxels) -> BevFeatures:
        """x: (M, C) on sites of two dimensions that ``voxels`` hold."""


class SparseBev(BevNetwork):
    """All at occupied sites only, the neck on its grown sites."""

    def __init__(self, channels: list[int], strides: list[int], layers: list[int], out: int) -> None:
        """``channels``: of the input and of each stage; ``layers``: convolutions a stage after the strided one;
        ``out``: channels that each stage brings into the neck."""
        super().__init__(strides)
        self.backbone = nn.ModuleList(
            nn.Sequential(ConvBlock(c_in, c_out, stride=stride), *(ConvBlock(c_out, c_out) for _ in range(more)))
            for (c_in, c_out), stride, more in zip(pairwise(channels), strides, layers, strict=True)
        )
        self.neck = nn.ModuleList(
            ConvBlock(c, out, kernel=factor, stride=factor, transposed=True) if factor > 1 else ConvBlock(c, out)
            for c, factor in zip(channels[1:], self.factors, strict=True)
        )

    def forward(self, x: "ME.SparseTensor", voxels: Voxels) -> BevFeatures:
        _, sites = self.sites(x, voxels)
        stages = []
        for stage in self.backbone:
            x = stage(x)
            stages.append(x)
        parts = [block(stage, sites).F for block, stage in zip(self.neck, stages, strict=True)]  # (N, out) each
        neck = _on(torch.cat(parts, dim=1), sites, voxels)  # (N, stages * out)
        rows = torch.arange(len(neck.F), device=neck.F.device)
        return BevFeatures(stages, neck, neck.F, neck.C, neck.tensor_stride[0], rows)


class DenseBev(BevNetwork):
    """As published: convolutions on the whole grid."""

    def __init__(
        self, channels: list[int], strides: list[int], layers: list[int], out: int, grid: tuple[int, int]
    ) -> None:
        """As :class:`SparseBev`; ``grid``: cells along x and y of the input, made up to whole strides."""
        super().__init__(strides)
        whole = self.factors[-1] * strides[0]
        self.grid = tuple(-(-cells // whole) * whole for cells in grid)
        self.backbone = nn.ModuleList(
            nn.Sequential(DenseBlock(c_in, c_out, stride), *(DenseBlock(c_out, c_out) for _ in range(more)))
            for (c_in, c_out), stride, more in zip(pairwise(channels), strides, layers, strict=True)
        )
        self.neck = nn.ModuleList(
            DenseBlock(c, out, factor, transposed=True) for c, factor in zip(channels[1:], self.factors, strict=True)
        )

    def forward(self, x: "ME.SparseTensor", voxels: Voxels) -> BevFeatures:
        keys, sites = self.sites(x, voxels)
        maps, stages, parts = spread(x, voxels.frames, self.grid), [], []  # (B, C, y, x)
        for stage, up, key in zip(self.backbone, self.neck, keys, strict=True):
            maps = stage(maps)
            parts.append(up(maps))  # (B, out, Y, X)
            stages.append(_on(read(maps, _rows(maps, key, voxels)), key, voxels))
        neck = torch.cat(parts, dim=1)  # (B, stages * out, Y, X)
        rows, stride = _rows(neck, sites, voxels), sites.get_tensor_stride()[0]
        cells = neck.permute(0, 2, 3, 1).flatten(0, 2)  # (B * Y * X, stages * out)
        return BevFeatures(stages, _on(cells[rows], sites, voxels), cells, _places(neck, stride), stride, rows)


class DenseBlock(nn.Module):
    """Convolution without bias (3 x 3, or transposed with kernel = stride), batch norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1, *, transposed: bool = False) -> None:
        super().__init__()
        self.convolution: nn.Conv2d | nn.ConvTranspose2d
        if transposed:
            self.convolution = nn.ConvTranspose2d(channels_in, channels_out, stride, stride, bias=False)
        else:
            self.convolution = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm = BatchNorm(channels_out, eps=EPSILON, momentum=MOMENTUM)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x).permute(0, 2, 3, 1)  # (B, y, x, C), as it lies in memory
        rows = self.norm(y.flatten(0, 2)).relu_()  # (B * y * x, C)
        return rows.view(y.shape).permute(0, 3, 1, 2)


def spread(x: "ME.SparseTensor", frames: int, grid: tuple[int, ...]) -> Tensor:
    """Sparse features (M, C) as a map (B, C, y, x) of ``grid`` cells along x and y, zero where no site is."""
    stride, channels = x.tensor_stride[0], x.F.shape[1]
    frame, column, row = x.C.long().t()
    place = (frame * grid[1] + row // stride) * grid[0] + column // stride  # (M,)
    cells = x.F.new_zeros(frames * grid[1] * grid[0], channels).index_copy(0, place, x.F)
    return cells.view(frames, grid[1], grid[0], channels).permute(0, 3, 1, 2)  # channels last in memory, as it is fast


def read(maps: Tensor, rows: Tensor) -> Tensor:
    """Features (M, C) of a map (B, C, y, x) at ``rows`` (M,) of its cells, counted frame, y, x."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)[rows]


def _rows(maps: Tensor, key: "ME.CoordinateMapKey", voxels: Voxels) -> Tensor:
    """Which cells (M,) of a map (B, C, y, x), counted frame, y, x, the sites of a key are."""
    stride = key.get_tensor_stride()[0]
    frame, column, row = voxels.manager.get_coordinates(key).long().t()
    return (frame * maps.shape[2] + row // stride) * maps.shape[3] + column // stride


def _places(maps: Tensor, stride: int) -> Tensor:
    """Coordinates int32 (B * y * x, 3), frame first, of all cells of a map (B, C, y, x)."""
    axes = (torch.arange(n, dtype=torch.int32, device=maps.device) for n in (maps.shape[0], *maps.shape[2:]))
    frame, row, column = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([frame, column * stride, row * stride], dim=-1).flatten(0, 2)


def _on(features: Tensor, key: "ME.CoordinateMapKey", voxels: Voxels) -> "ME.SparseTensor":
    return ME.SparseTensor(features, coordinate_map_key=key, coordinate_manager=voxels.manager)
