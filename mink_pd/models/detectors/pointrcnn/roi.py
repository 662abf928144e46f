"""The second stage, which refines each region's box from its points in the region's frame."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mink_pd.config.pointrcnn import PointLossConfig, RoIConfig
from mink_pd.models.detectors.pointrcnn.backbone import PointHead, SetAbstraction, Width
from mink_pd.models.detectors.pointrcnn.coder import BoxCoder
from mink_pd.models.detectors.pointrcnn.pointnet import MLPLayer, mlp
from mink_pd.models.detectors.pointrcnn.region_stage import Regions, RegionTargets
from mink_pd.points import PointSample, abstract, points_of_boxes
from mink_pd.processes import shared_count


@dataclass
class RegionPoints:
    """P points of each of R regions; all zero in an empty region."""

    xyz: Tensor  # (R, P, 3) in the region's frame [m]
    extra: Tensor  # (R, P, 2), foreground score and scaled depth
    features: Tensor  # (R, P, C) of the first stage


@torch.no_grad()
def pool(sample: PointSample, scores: Tensor, features: Tensor, regions: Regions, settings: RoIConfig) -> RegionPoints:
    """The first ``settings.points`` points inside each region, enlarged by the margin (PointRCNN, section 3.3).

    scores: (F * N,) [0..1], of the sample's points.
    features: (F * N, C), of the sample's points. No gradient flows back to scores and features.
    """
    enlarged = regions.boxes.clone()
    enlarged[:, 3:6] += 2 * settings.margin
    xyz = sample.points[..., :3]  # (F, N, 3)
    rows, found = points_of_boxes(xyz, enlarged, regions.frame, settings.points)  # (R, P), (R,)
    rows = rows + (regions.frame * xyz.shape[1])[:, None]
    there = (found > 0)[:, None, None]
    positions = xyz.reshape(-1, 3)[rows]  # (R, P, 3)
    depth = positions.norm(dim=2) / settings.depth - 0.5  # (R, P)
    local = to_frame(positions, regions.boxes)
    if settings.heights == "bottom":
        local[..., 2] += regions.boxes[:, None, 5] / 2
    extra = torch.stack([scores[rows], depth], dim=2)
    return RegionPoints(*(torch.where(there, values, 0) for values in (local, extra, features[rows])))


def to_frame(xyz: Tensor, regions: Tensor) -> Tensor:
    """Positions (R, P, 3) in the frames of regions (R, 7), with x along the heading (canonical transformation)."""
    return turn(xyz - regions[:, None, :3], -regions[:, 6, None])


def turn(xyz: Tensor, angle: Tensor) -> Tensor:
    """Positions (..., 3) rotated by angles (...) [rad] about z."""
    cos, sin = angle.cos(), angle.sin()
    x, y, z = xyz.unbind(dim=-1)
    return torch.stack([x * cos - y * sin, x * sin + y * cos, z], dim=-1)


def boxes_to_frame(boxes: Tensor, regions: Tensor) -> Tensor:
    """Boxes (R, 7) in the frames of regions (R, 7)."""
    centre = to_frame(boxes[:, None, :3], regions)[:, 0]
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
        local = torch.cat([points.xyz, points.extra], dim=2).flatten(0, 1)  # (R * P, 5)
        x = self.merge(torch.cat([self.lift(local), points.features.flatten(0, 1)], dim=1))  # (R * P, 128)
        xyz = points.xyz
        for stage, level in zip(self.stages, abstract(xyz, self.settings.stages), strict=True):
            x = stage(xyz, x, level)  # (R * 128, 128), (R * 32, 256), (R, 512)
            xyz = level.xyz
        scores, codes = self.head(x)
        return scores[:, 0], codes


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
