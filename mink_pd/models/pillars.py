"""Dynamic pillar feature net."""

import torch
from torch import Tensor, nn

from mink_pd.sparse import Voxels, segment_max, segment_mean
from mink_pd.sparse.layers import EPSILON, MOMENTUM


class PillarFeatureNet(nn.Module):
    """Points of each pillar -> one feature (PointPillars, Lang et al. 2019, section 2.1).

    Dynamic (Zhou et al. 2019): every point counts, none is padded or dropped. A point is described by x, y, z,
    intensity, its offset to the mean of its pillar's points and its offset to the pillar's centre.

    Published networks hold a pillar in ``max_points`` slots: more points are dropped, and with ``empty_slots`` the
    zeros in the slots of a pillar with fewer take part in the maximum. Weights that were trained so need it.
    """

    def __init__(
        self, channels: int, height: float, max_points: int | None = None, empty_slots: bool = False
    ) -> None:
        """``height``: z of the pillars' centre [m]."""
        super().__init__()
        self.height, self.max_points, self.empty_slots = height, max_points, empty_slots
        self.linear = nn.Linear(10, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels, eps=EPSILON, momentum=MOMENTUM)

    def forward(self, voxels: Voxels) -> Tensor:
        """Features (M, C) of the M pillars."""
        points, rows, counts = voxels.points[:, :4], voxels.rows, voxels.counts  # (P, 4), (P,), (M,)
        slots = self.max_points
        if slots is not None:
            kept = voxels.first_points(slots)
            points, rows, counts = points[kept], rows[kept], counts.clamp(max=slots)
        mean = segment_mean(points[:, :3], rows, counts)  # (M, 3)
        flat = voxels.centres(voxels.coordinates, stride=1)  # (M, 2)
        centre = torch.cat([flat, flat.new_full((len(flat), 1), self.height)], dim=1)  # (M, 3)
        xyz = points[:, :3]
        described = torch.cat([points, xyz - mean[rows], xyz - centre[rows]], dim=1)  # (P, 10)
        if slots is None or not self.empty_slots:
            return segment_max(self.norm(self.linear(described)).relu_(), rows, len(voxels))
        described = torch.cat([described, described.new_zeros(1, 10)])  # one empty slot, the same in all pillars
        features = self.norm(self.linear(described)).relu_()  # (P + 1, C)
        largest = segment_max(features[:-1], rows, len(voxels))  # (M, C)
        return torch.where(counts[:, None] < slots, torch.maximum(largest, features[-1]), largest)
