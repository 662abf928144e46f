"""The dynamic pillar feature net."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from mink_pd.config import Config
from mink_pd.config.models import PillarEncoderConfig
from mink_pd.models.compress import width
from mink_pd.models.layers.encoder import BevEncoder
from mink_pd.native.operators import operators
from mink_pd.processes import sum_over_processes
from mink_pd.sparse import ME, Voxels, segment_linear_max, segment_max, segment_mean
from mink_pd.sparse.layers import EPSILON, MOMENTUM
from mink_pd.sparse.norm import BatchNorm

_ROWS_PER_SUM = 1024  # number of rows whose products are summed in float32


class PillarFeatureNet(BevEncoder):
    """From the points of each pillar to one feature per pillar (PointPillars, Lang et al. 2019, section 2.1).

    It is dynamic (Zhou et al. 2019): all points are used, without padding. A point is described by x, y, z, intensity
    (and the data set's further columns), its offset to the mean of its pillar's points, and its offset to the pillar's
    centre. Layers before the last are :class:`PointLayer`.

    Published networks store a pillar in ``max_points`` slots. Further points are dropped, and with ``empty_slots`` the
    zeros of unused slots take part in the maximum. Weights that were trained this way need both.
    """

    dimensions = 2
    stride = 1
    tap = "pillars"

    def __init__(
        self,
        channels: int,
        height: float,
        max_points: int | None = None,
        empty_slots: bool = False,
        point_features: int = 4,
        layers: Sequence[int] = (),
        intensity: bool = True,
        centre_height: bool = True,
    ) -> None:
        """Build the layers.

        height: z of the pillars' centres [m].
        point_features: columns of a point in the data set.
        layers: channels of the layers before the last.
        intensity: whether column 3 is used.
        centre_height: whether the offset to the pillar's centre includes z.
        """
        super().__init__()
        self.height, self.max_points, self.empty_slots = height, max_points, empty_slots
        self.columns = tuple(column for column in range(point_features) if intensity or column != 3)
        self.centre_axes = 3 if centre_height else 2
        features = len(self.columns) + 3 + self.centre_axes
        self.hidden = nn.ModuleList(
            PointLayer(c_in, c_out) for c_in, c_out in pairwise([features, *(2 * (c // 2) for c in layers)])
        )
        self.linear = LargestNormalised(2 * (layers[-1] // 2) if layers else features, channels)
        self.norm = BatchNorm(channels, eps=EPSILON, momentum=MOMENTUM)

    @classmethod
    def of(cls, config: Config) -> "PillarFeatureNet":
        """The pillar net that ``config.model`` describes."""
        model, bounds = config.model, config.data.range
        assert isinstance(model, PillarEncoderConfig)
        channels, *layers = (width(c, model.compression) for c in (model.pillar_channels, *model.pillar_layers))
        return cls(
            channels,
            (bounds[2] + bounds[5]) / 2,
            model.max_points,
            model.empty_slots,
            config.data.point_features,
            layers,
            model.intensity,
            model.centre_height,
        )

    @property
    def channels_out(self) -> int:
        return self.linear.out_features

    def encode(self, voxels: Voxels) -> tuple["ME.SparseTensor", Voxels]:
        return voxels.tensor(self(voxels)), voxels

    def forward(self, voxels: Voxels) -> Tensor:
        """Features (M, C) of the M pillars."""
        slots = self.max_points
        voxels = voxels if slots is None else voxels.limited(slots)
        described, rows, counts = self.describe(voxels), voxels.rows, voxels.counts  # (P, F), (P,), (M,)
        if slots is None or not self.empty_slots:
            return self._largest(described, rows, counts)
        if self.hidden:  # the features of an empty slot depend on its pillar, so each such pillar gets one
            some = torch.nonzero(counts < slots)[:, 0]
            described = torch.cat([described, described.new_zeros(len(some), described.shape[1])])
            return self._largest(described, torch.cat([rows, some]), counts + (counts < slots))
        described = torch.cat([described, torch.zeros_like(described[:1])])  # an empty slot as an additional pillar
        rows, more = (torch.cat([x, x.new_tensor([last])]) for x, last in ((rows, len(voxels)), (counts, 1)))
        features = self.linear(described, self.norm, rows, more)  # (M + 1, C)
        largest, empty = features[:-1], features[-1]
        return torch.where(counts[:, None] < slots, torch.maximum(largest, empty), largest)

    def _largest(self, x: Tensor, rows: Tensor, counts: Tensor) -> Tensor:
        """Features (M, C) of points (P, F) in pillars ``rows`` (P,) of ``counts`` (M,)."""
        for layer in self.hidden:
            x = layer(x, rows, len(counts))
        return self.linear(x, self.norm, rows, counts)

    def describe(self, voxels: Voxels) -> Tensor:
        """The description (P, F) of each point, F = 10 for KITTI; all networks on these voxels get the same tensor."""
        name = ("points of pillars", self.height, self.columns, self.centre_axes)
        if name not in voxels.derived:
            voxels.derived[name] = self._describe(voxels)
        return voxels.derived[name]

    def _describe(self, voxels: Voxels) -> Tensor:
        points, rows = voxels.points, voxels.rows  # (P, 4 or more), (P,)
        if self.columns == tuple(range(len(self.columns))):
            points = points[:, : len(self.columns)]  # a view
        else:
            points = points[:, list(self.columns)]
        centre = voxels.centres(voxels.coordinates, stride=1)  # (M, 2)
        if self.centre_axes == 3:
            centre = torch.cat([centre, centre.new_full((len(centre), 1), self.height)], dim=1)  # (M, 3)
        compiled = operators() if _is_fast(points) else None
        if compiled is not None:
            return compiled.describe_points(points, rows, voxels.counts, centre)
        xyz = points[:, :3]
        mean = segment_mean(xyz, rows, voxels.counts)  # (M, 3)
        around = torch.cat([mean, centre], dim=1).index_select(0, rows)  # (P, 6) or (P, 5)
        return torch.cat([points, xyz - around[:, :3], xyz[:, : self.centre_axes] - around[:, 3:]], dim=1)


class PointLayer(nn.Module):
    """Linear map without bias, batch norm and ReLU of each point, concatenated with the maximum over its pillar (the
    VFE layer of VoxelNet, Zhou & Tuzel 2018, section 2.1.1)."""

    def __init__(self, features: int, channels: int) -> None:
        """channels: of the output; half of them are the maximum over the pillar."""
        super().__init__()
        self.linear = nn.Linear(features, channels // 2, bias=False)
        self.norm = BatchNorm(channels // 2, eps=EPSILON, momentum=MOMENTUM)

    def forward(self, x: Tensor, rows: Tensor, count: int) -> Tensor:
        """x (P, F) in pillars ``rows`` (P,) of ``count`` -> (P, C)."""
        own = self.norm(self.linear(x)).relu()  # (P, C / 2)
        return torch.cat([own, segment_max(own, rows, count).index_select(0, rows)], dim=1)


class LargestNormalised(nn.Linear):
    """A linear map without bias, batch norm and ReLU of rows, then the maximum over groups of rows. Intermediate
    results are never stored for all rows."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__(features, channels, bias=False)

    def forward(self, x: Tensor, norm: BatchNorm, rows: Tensor, counts: Tensor) -> Tensor:  # type: ignore[override]
        """x (P, F) in groups ``rows`` (P,) of ``counts`` (M,) -> (M, C)."""
        weight, bias = self.folded(norm, x)  # (C, F), (C,)
        # Not in place, because the maxima may be needed for the gradient.
        return segment_linear_max(x, weight, bias, rows, counts).relu()

    def folded(self, norm: BatchNorm, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (C, F) and bias (C,) of the single linear map that equals this one followed by the norm.

        In training the statistics of W x follow from those of x: mean W E[x], variance diag(W Cov[x] W^T). Gradients
        reach W through these small products, and the running statistics are updated as ``norm`` would update them.
        """
        layer: Any = norm
        with torch.autocast(x.device.type, enabled=False):
            if norm.training:
                count, mean, covariance = _moments(x, norm.synchronised)  # (), (F,), (F, F)
                wide = self.weight.double()
                centre = wide @ mean  # (C,)
                variance = ((wide @ covariance) * wide).sum(dim=1)  # (C,)
                norm.track(centre.detach(), variance.detach(), count)
                centre, variance = centre.to(self.weight.dtype), variance.to(self.weight.dtype)
            else:
                centre, variance = layer.running_mean, layer.running_var
            scale = layer.weight * torch.rsqrt(variance + layer.eps)
            return self.weight * scale[:, None], layer.bias - centre * scale


def _moments(x: Tensor, synchronised: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Number (), mean (F,) and biased covariance (F, F), float64, of rows x (P, F).

    synchronised: of the rows of all processes.
    """
    count = torch.full((1,), len(x), dtype=torch.float64, device=x.device)
    mean, covariance = _mean_and_covariance(x)
    if not synchronised:
        return count, mean, covariance
    features = len(mean)
    own = torch.cat([count, count * mean, (count * (covariance + torch.outer(mean, mean))).flatten()])
    count, mean, square = sum_over_processes(own).split([1, features, features * features])
    mean, square = mean / count.clamp(min=1), square / count.clamp(min=1)
    return count, mean, square.view(features, features) - torch.outer(mean, mean)


def _mean_and_covariance(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of the rows of this process. Compiled for rows that want no gradient (``csrc/core/description.cpp``)."""
    compiled = operators() if _is_fast(x) else None
    if compiled is not None:
        return compiled.covariance(x)
    some = max(len(x), 1)
    mean = x.sum(dim=0, dtype=torch.float64) / some
    centred = x - mean.to(x.dtype)  # squares of uncentred values would cancel
    rest = centred.sum(dim=0, dtype=torch.float64) / some  # remainder of rounding the mean
    blocks = centred.split(_ROWS_PER_SUM)  # float32 products of short blocks, summed in float64
    square = torch.stack([block.t() @ block for block in blocks]).sum(dim=0, dtype=torch.float64) / some
    return mean, square - torch.outer(rest, rest)


def _is_fast(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and not x.requires_grad
