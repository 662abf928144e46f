"""Converts points into the inputs of a pillar detector's graphs, and pillar features into the canvas."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.sparse import Voxels


@dataclass
class PillarRows:
    """The points of pillars in rows. A pillar with more points than slots has several rows."""

    features: Tensor  # float32 (R, slots, F) of the points, zeros in empty slots
    coordinates: Tensor  # int32 (R, 3): frame, y, x of each row

    def __len__(self) -> int:
        return len(self.features)


def pillar_rows(net: PillarFeatureNet, voxels: Voxels, slots: int | None = None) -> PillarRows:
    """The points of pillars in rows of ``slots`` slots; None: as many as the largest pillar has points."""
    if net.max_points is not None:
        voxels = voxels.limited(net.max_points)
    slots = int(voxels.counts.max()) if slots is None else slots
    described, rank = net.describe(voxels), voxels.ranks()  # (P, F), (P,)
    rows = torch.div(voxels.counts + slots - 1, slots, rounding_mode="floor")  # (M,) of each pillar
    first = rows.cumsum(0) - rows
    features = described.new_zeros(int(rows.sum()), slots, described.shape[1])
    features[first[voxels.rows] + torch.div(rank, slots, rounding_mode="floor"), rank % slots] = described
    coordinates = voxels.coordinates[:, [0, 2, 1]].repeat_interleave(rows, dim=0)
    return PillarRows(features, coordinates)


def canvas_of(features: Tensor, coordinates: Tensor, frames: int, grid: tuple[int, int]) -> Tensor:
    """Features (R, C) at coordinates (R, 3), frame, y, x, as a canvas (frames, C, y, x) of ``grid`` cells, x and y.

    If several rows share a cell, each channel takes the maximum. Features must be >= 0.
    """
    columns, lines = grid
    frame, y, x = coordinates.long().t()
    index = (frame * lines + y) * columns + x  # (R,)
    cells = features.new_zeros(frames * lines * columns, features.shape[1])
    cells.scatter_reduce_(0, index[:, None].expand_as(features), features, "amax")
    return cells.view(frames, lines, columns, -1).permute(0, 3, 1, 2).contiguous()
