"""The second stage, which refines each region's box from its points in the region's frame."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mink_pd.config.pointrcnn import PointLossConfig, RoIConfig
from mink_pd.models.detectors.pointrcnn.backbone import PointHead, SetAbstraction, Width
from mink_pd.models.detectors.pointrcnn.coder import BoxCoder
from mink_pd.models.detectors.pointrcnn.fused import Affine, Spread, compiled_for, project, run_rows
from mink_pd.models.detectors.pointrcnn.pointnet import MLPLayer, mlp
from mink_pd.models.detectors.pointrcnn.region_stage import Regions, RegionTargets
from mink_pd.points import Level, PointSample, abstract, abstract_ragged, points_of_boxes
from mink_pd.processes import shared_count


@dataclass
class RegionPoints:
    """S points of R regions, region by region, and which rows of the first stage's features they have.

    A region that has no point has one or more at the origin, of which everything is 0.
    """

    xyz: Tensor  # (S, 3) in the region's frame [m]
    extra: Tensor  # (S, 2), foreground score and scaled depth
    features: Tensor  # (F * N, C) of the first stage
    rows: Tensor  # (S,) int64, of ``features``
    there: Tensor  # (S,) bool, False for a region that has no point
    counts: Tensor  # (R,) int64, each region's points

    @property
    def local(self) -> Tensor:
        """(S, 5)"""
        return torch.cat([self.xyz, self.extra], dim=1)

    def own_features(self) -> Tensor:
        """(S, C)"""
        return torch.where(self.there[:, None], self.features[self.rows], 0)


@torch.no_grad()
def pool(
    sample: PointSample, scores: Tensor, features: Tensor, regions: Regions, settings: RoIConfig, once: bool
) -> RegionPoints:
    """The first ``settings.points`` points inside each region, enlarged by the margin (PointRCNN, section 3.3).

    scores: (F * N,) [0..1], of the sample's points.
    features: (F * N, C), of the sample's points. No gradient flows back to scores and features.
    once: each point once; otherwise those of a region are repeated in turn until there are ``settings.points``.
    """
    enlarged = regions.boxes.clone()
    enlarged[:, 3:6] += 2 * settings.margin
    xyz = sample.points[..., :3]  # (F, N, 3)
    rows, found = points_of_boxes(xyz, enlarged, regions.frame, settings.points)  # (R, P), (R,)
    rows = rows + (regions.frame * xyz.shape[1])[:, None]
    counts = found.clamp(min=1) if once else torch.full_like(found, settings.points)
    rows = rows[torch.arange(settings.points, device=rows.device) < counts[:, None]]  # (S,)
    region = torch.arange(len(regions), device=rows.device).repeat_interleave(counts)  # (S,)
    there = (found > 0)[region]
    positions = xyz.reshape(-1, 3)[rows]  # (S, 3)
    depth = positions.norm(dim=1) / settings.depth - 0.5  # (S,)
    local = to_frame(positions, regions.boxes[region])
    if settings.heights == "bottom":
        local[:, 2] += regions.boxes[region, 5] / 2
    extra = torch.stack([scores[rows], depth], dim=1)
    local, extra = (torch.where(there[:, None], values, 0) for values in (local, extra))
    return RegionPoints(local, extra, features, rows, there, counts)


def to_frame(xyz: Tensor, regions: Tensor) -> Tensor:
    """Positions (n, 3) in the frames of regions (n, 7), with x along the heading (canonical transformation)."""
    return turn(xyz - regions[:, :3], -regions[:, 6])


def turn(xyz: Tensor, angle: Tensor) -> Tensor:
    """Positions (..., 3) rotated by angles (...) [rad] about z."""
    cos, sin = angle.cos(), angle.sin()
    x, y, z = xyz.unbind(dim=-1)
    return torch.stack([x * cos - y * sin, x * sin + y * cos, z], dim=-1)


def boxes_to_frame(boxes: Tensor, regions: Tensor) -> Tensor:
    """Boxes (R, 7) in the frames of regions (R, 7)."""
    centre = to_frame(boxes[:, :3], regions)
    return torch.cat([centre, boxes[:, 3:6], boxes[:, 6:] - regions[:, 6:]], dim=1)


def boxes_from_frame(boxes: Tensor, regions: Tensor) -> Tensor:
    """The inverse of :func:`boxes_to_frame`."""
    centre = turn(boxes[:, :3], regions[:, 6]) + regions[:, :3]
    return torch.cat([centre, boxes[:, 3:6], boxes[:, 6:] + regions[:, 6:]], dim=1)


class RegionHead(nn.Module):
    """An MLP on local coordinates, merged with the first stage's features; then set abstractions and two heads."""

    def __init__(self, channels: int, settings: RoIConfig, code: int, width: Width) -> None:
        super().__init__()
        self.settings = settings
        lifted = [width(c) for c in settings.channels]
        self.lift = mlp([5, *lifted], norm=False)
        self.merge = MLPLayer(lifted[-1] + channels, lifted[-1], norm=False)
        self.stages = nn.ModuleList()
        out = lifted[-1]
        for stage in settings.stages:
            abstraction = SetAbstraction(out, stage, width)
            self.stages.append(abstraction)
            out = abstraction.out
        self.head = PointHead(out, [width(c) for c in settings.head_channels], classes=1, code=code, prior=0.5)

    def forward(self, points: RegionPoints) -> tuple[Tensor, Tensor]:
        """Logits (R,) and box codes (R, code) in the regions' frames."""
        x, xyz = self._merged(points), points.xyz  # (S, 128), (S, 3)
        for stage, level in zip(self.stages, self._levels(points), strict=True):
            x = stage(xyz, x, level)  # (R * 128, 128), (R * 32, 256), (R, 512), or fewer where places are kept once
            xyz = level.xyz
        scores, codes = self.head(x)
        return scores[:, 0], codes

    def takes_points_once(self, features: Tensor) -> bool:
        """Whether points need not be repeated: in compiled code, at inference, where repetition changes nothing."""
        return compiled_for(features, [self]) is not None

    def _merged(self, points: RegionPoints) -> Tensor:
        """Local coordinates through their MLP, merged with the first stage's features: (S, C)"""
        compiled = compiled_for(points.features, [self])
        if compiled is None:
            return self.merge(torch.cat([self.lift(points.local), points.own_features()], dim=1))
        merge, lifted = self.merge.affine(), self.lift.affines()
        width = len(lifted[-1].shift)
        table = project(compiled, points.features, merge.columns(width))  # (F * N, C)
        spread = Spread(table, points.rows[:, None], points.there[:, None].to(table.dtype), layer=len(lifted))
        return run_rows(compiled, points.local, [*lifted, Affine(merge.columns(0, width), merge.shift)], spread=spread)

    def _levels(self, points: RegionPoints) -> list[Level]:
        compiled = compiled_for(points.features, [self])
        if compiled is None:
            return abstract(points.xyz.view(len(points.counts), -1, 3), self.settings.stages)
        return abstract_ragged(compiled, points.xyz, points.counts, self.settings.stages)


def region_loss(
    logits: Tensor, codes: Tensor, regions: Regions, targets: RegionTargets, coder: BoxCoder, sizes: Tensor,
    settings: PointLossConfig,
) -> dict[str, Tensor]:  # fmt: skip
    """Mean cross entropy of positives and negatives, and mean box loss of regressed regions (PointRCNN, section 3.4).

    logits: (R,).
    codes: (R, C).
    sizes: (R, 3), to which the codes are relative [m].
    """
    decided = targets.scores >= 0
    entropy = F.binary_cross_entropy_with_logits(logits, targets.scores.clamp(min=0), reduction="none")
    near = torch.nonzero(targets.regressed)[:, 0]  # (n,)
    seen = boxes_to_frame(targets.boxes[near], regions.boxes[near])
    box = coder.loss(codes[near], seen, torch.zeros_like(seen[:, :3]), sizes[near])
    return {
        "region": settings.region * (entropy * decided).sum() / shared_count(decided.sum()),
        "region_box": settings.region_box * box.sum() / shared_count(len(near)),
    }
