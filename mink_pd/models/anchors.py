"""Anchors, the box coder, and which anchor answers for which object (SECOND, Yan et al. 2018, section 3.2)."""

import math

import torch
from torch import Tensor

from mink_pd.config import AnchorConfig

HEADINGS = (0.0, math.pi / 2)
DIRECTION_OFFSET = math.pi / 4  # the direction classes meet at 45 degrees, away from the common headings


def place_anchors(centres: Tensor, anchors: list[AnchorConfig]) -> Tensor:
    """Anchors (S, 2 * classes, 7) at site centres (S, 2) [m]: for each class in order, its two headings."""
    table = [[*a.size, a.z, yaw] for a in anchors for yaw in HEADINGS]
    size = torch.tensor(table, dtype=centres.dtype, device=centres.device)  # (A, 5): l, w, h, z, yaw
    sites, kinds = len(centres), len(size)
    xy = centres[:, None, :].expand(sites, kinds, 2)
    size = size.expand(sites, kinds, 5)
    return torch.cat([xy, size[..., 3:4], size[..., :3], size[..., 4:]], dim=-1)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Residuals (..., 7) of boxes to anchors: offsets over the anchor's diagonal and height, log sizes, angle."""
    diagonal = anchors[..., 3:5].norm(dim=-1, keepdim=True)
    return torch.cat([
        (boxes[..., :2] - anchors[..., :2]) / diagonal,
        (boxes[..., 2:3] - anchors[..., 2:3]) / anchors[..., 5:6],
        torch.log(boxes[..., 3:6] / anchors[..., 3:6]),
        boxes[..., 6:] - anchors[..., 6:],
    ], dim=-1)  # fmt: skip


def decode(residuals: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (..., 7) from residuals; the inverse of :func:`encode`."""
    diagonal = anchors[..., 3:5].norm(dim=-1, keepdim=True)
    return torch.cat([
        residuals[..., :2] * diagonal + anchors[..., :2],
        residuals[..., 2:3] * anchors[..., 5:6] + anchors[..., 2:3],
        torch.exp(residuals[..., 3:6]) * anchors[..., 3:6],
        residuals[..., 6:] + anchors[..., 6:],
    ], dim=-1)  # fmt: skip


def direction_class(yaw: Tensor) -> Tensor:
    """0 or 1 (int64): the half turn that a heading [rad] lies in."""
    return torch.remainder(yaw - DIRECTION_OFFSET, 2 * math.pi).div(math.pi, rounding_mode="floor").long().clamp(0, 1)


def with_direction(yaw: Tensor, direction: Tensor) -> Tensor:
    """The heading [rad] equal to ``yaw`` or half a turn from it that lies in the half turn ``direction``."""
    return torch.remainder(yaw - DIRECTION_OFFSET, math.pi) + DIRECTION_OFFSET + math.pi * direction


def aligned_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU (A, B) in the bird's-eye view of boxes turned to the nearest axis, as anchors are matched in SECOND."""
    (a_low, a_high), (b_low, b_high) = _aligned(a), _aligned(b)
    low = torch.maximum(a_low[:, None], b_low[None])  # (A, B, 2)
    high = torch.minimum(a_high[:, None], b_high[None])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    areas = (a_high - a_low).prod(dim=-1)[:, None] + (b_high - b_low).prod(dim=-1)[None]
    return shared / (areas - shared)


def _aligned(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper corners (B, 2) of boxes (B, 7) turned to the nearest axis."""
    turned = (torch.remainder(boxes[:, 6] + math.pi / 4, math.pi) >= math.pi / 2)[:, None]
    size = torch.where(turned, boxes[:, [4, 3]], boxes[:, [3, 4]])
    return boxes[:, :2] - size / 2, boxes[:, :2] + size / 2


def assign(anchors: Tensor, boxes: Tensor, matched: float, unmatched: float) -> Tensor:
    """For each of N anchors of one class the row of its object among boxes (B, 7), -1 for background, -2 to ignore.

    Positive from IoU ``matched``, and the best anchors of each object in any case; background below ``unmatched``.
    """
    result = torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
    if len(boxes) == 0 or len(anchors) == 0:
        return result
    overlap = aligned_iou(anchors, boxes)  # (N, B)
    best, row = overlap.max(dim=1)
    result[best >= unmatched] = -2
    result[best >= matched] = row[best >= matched]
    most = overlap.max(dim=0).values  # (B,)
    anchor, box = torch.nonzero((overlap == most) & (most > 0), as_tuple=True)
    result[anchor] = box
    return result
