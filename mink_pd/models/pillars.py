"""Dynamic pillar feature net."""

import torch
from torch import Tensor, nn

from mink_pd.sparse import Voxels, segment_max, segment_mean
from mink_pd.sparse.layers import EPSILON, MOMENTUM
from mink_pd.sparse.norm import BatchNorm


class PillarFeatureNet(nn.Module):
    """Points of each pillar -> one feature (PointPillars, Lang et al. 2019, section 2.1).

    Dynamic (Zhou et al. 2019): every point counts, none is padded or dropped. A point is described by x, y, z,
    intensity, its offset to the mean of its pillar's points and its offset to the pillar's centre.
    """

    def __init__(self, channels: int, height: float) -> None:
        """``height``: z of the pillars' centre [m]."""
        super().__init__()
        self.height = height
        self.linear = nn.Linear(10, channels, bias=False)
        self.norm = BatchNorm(channels, eps=EPSILON, momentum=MOMENTUM)

    def forward(self, voxels: Voxels) -> Tensor:
        """Features (M, C) of the M pillars."""
        points, rows = voxels.points[:, :4], voxels.rows  # (P, 4), (P,)
        mean = segment_mean(points[:, :3], rows, voxels.counts)  # (M, 3)
        flat = voxels.centres(voxels.coordinates, stride=1)  # (M, 2)
        centre = torch.cat([flat, flat.new_full((len(flat), 1), self.height)], dim=1)  # (M, 3)
        xyz = points[:, :3]
        described = torch.cat([points, xyz - mean[rows], xyz - centre[rows]], dim=1)  # (P, 10)
        return segment_max(self.norm(self.linear(described)).relu_(), rows, len(voxels))
