"""From points to what the graphs of a pillar detector take, and from pillar features to the canvas."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.sparse import Voxels


@dataclass
class PillarRows:
    """features float32 (R, slots, F) of points in slots, zeros in empty ones; coordinates int32 (R, 3) of each row:
    frame, y, x. A pillar of more points than slots has several rows."""

    features: Tensor
    coordinates: Tensor

    def __len__(self) -> int:
        return len(self.features)


def pillar_rows(net: PillarFeatureNet, voxels: Voxels, slots: int | None = None) -> PillarRows:
    """The points of pillars in rows of ``slots``; None: as many as the fullest pillar has points."""
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

    Of several rows in one cell each channel takes the largest; features are >= 0.
    """
    columns, lines = grid
    frame, y, x = coordinates.long().t()
    place = (frame * lines + y) * columns + x  # (R,)
    cells = features.new_zeros(frames * lines * columns, features.shape[1])
    cells.scatter_reduce_(0, place[:, None].expand_as(features), features, "amax")
    return cells.view(frames, lines, columns, -1).permute(0, 3, 1, 2).contiguous()
