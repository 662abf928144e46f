"""Anchors, the box coder, and the assignment of anchors to objects (SECOND, Yan et al. 2018, section 3.2)."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from mink_pd.config.models import AnchorConfig, HeadConfig
from mink_pd.native.operators import operators
from mink_pd.sparse import Voxels

LARGEST = math.log(50)  # of log sizes: an untrained network must not give infinite boxes


def anchor_positions(
    coordinates: Tensor, stride: int, voxels: Voxels, bounds: tuple[float, ...], settings: HeadConfig
) -> Tensor:
    """Positions (S, 2) [m] of the anchors at coordinates (S, 3) of a tensor stride in a range [m].

    Anchors are at the centres of the cells or, for weights that were trained this way, spaced evenly over the range
    including both ends.
    """
    if settings.places == "centres":
        return voxels.centres(coordinates, stride)
    low, high = (voxels.origin.new_tensor(bounds[at : at + 2]) for at in (0, 3))  # (2,)
    cells = ((high - low) / (voxels.size * stride)).round()
    return low + (coordinates[:, 1:] / stride) * ((high - low) / (cells - 1))


def place_anchors(
    centres: Tensor,
    anchors: list[AnchorConfig],
    headings: tuple[float, float] = HeadConfig().headings,
    scale: float = 1.0,
) -> Tensor:
    """Anchors (S, 2 * len(anchors), 7) at positions (S, 2) [m]: for each setting in order, one per heading [rad].

    scale: factor on length, width and height; the height of the bottoms does not change.
    """
    sizes = [(a.z + (scale - 1) * a.size[2] / 2, *(scale * edge for edge in a.size)) for a in anchors]
    kinds = centres.new_tensor([[0, 0, *z_lwh, yaw] for z_lwh in sizes for yaw in headings])  # (A, 7)
    return kinds + functional.pad(centres, (0, 5))[:, None]


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Residuals (..., 7) of boxes to anchors: offsets divided by the anchor's diagonal and height, log sizes, angle."""
    diagonal = anchors[..., 3:5].norm(dim=-1, keepdim=True)
    return torch.cat([
        (boxes[..., :2] - anchors[..., :2]) / diagonal,
        (boxes[..., 2:3] - anchors[..., 2:3]) / anchors[..., 5:6],
        torch.log(boxes[..., 3:6] / anchors[..., 3:6]),
        boxes[..., 6:] - anchors[..., 6:],
    ], dim=-1)  # fmt: skip


def decode(residuals: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (..., 7) from residuals; the inverse of :func:`encode` for sizes up to 50 times the anchor's."""
    diagonal = anchors[..., 3:5].norm(dim=-1, keepdim=True)
    return torch.cat([
        residuals[..., :2] * diagonal + anchors[..., :2],
        residuals[..., 2:3] * anchors[..., 5:6] + anchors[..., 2:3],
        torch.exp(residuals[..., 3:6].clamp(-LARGEST, LARGEST)) * anchors[..., 3:6],
        residuals[..., 6:] + anchors[..., 6:],
    ], dim=-1)  # fmt: skip


def direction_class(yaw: Tensor, offset: float) -> Tensor:
    """0 or 1 (int64): the half turn, counted from ``offset`` [rad], that contains a heading [rad]."""
    return torch.remainder(yaw - offset, 2 * math.pi).div(math.pi, rounding_mode="floor").long().clamp(0, 1)


def with_direction(yaw: Tensor, direction: Tensor, offset: float) -> Tensor:
    """``yaw`` [rad], turned by half a turn if that is needed to be in the half turn ``direction``."""
    return torch.remainder(yaw - offset, math.pi) + offset + math.pi * direction


def aligned_iou(a: Tensor, b: Tensor) -> Tensor:
    """Bird's-eye-view IoU (N,) of boxes a, b (N, 7) turned to the nearest axis, by which SECOND matches anchors."""
    a_size, b_size = _aligned_size(a), _aligned_size(b)
    low = torch.maximum(a[:, :2] - a_size / 2, b[:, :2] - b_size / 2)  # (N, 2)
    high = torch.minimum(a[:, :2] + a_size / 2, b[:, :2] + b_size / 2)
    shared = (high - low).clamp(min=0).prod(dim=1)
    return shared / (a_size.prod(dim=1) + b_size.prod(dim=1) - shared)


def _aligned_size(boxes: Tensor) -> Tensor:
    """Extent (N, 2) along x and y of boxes (N, 7) turned to the nearest axis."""
    turned = (torch.remainder(boxes[:, 6] + math.pi / 4, math.pi) >= math.pi / 2)[:, None]
    return torch.where(turned, boxes[:, [4, 3]], boxes[:, [3, 4]])


def match(
    anchors: Tensor,
    frame: Tensor,
    boxes: Tensor,
    labels: Tensor,
    box_frame: Tensor,
    settings: list[AnchorConfig],
    any_class: bool = False,
) -> Tensor:
    """For each anchor (S, A, 7) the row of its object among boxes (B, 7); -1: background, -2: ignored.

    Objects compete for the anchors of their class (with ``any_class`` for all) in their frame, given by ``frame`` (S,),
    ``box_frame`` (B,) and ``labels`` (B,). An anchor is positive if its IoU is at least ``matched``, or if it is one of
    the best anchors of an object; it is background if its IoU is below ``unmatched``. Among objects of equal IoU the
    last takes the anchor. Compiled on the CPU in float32 (``csrc/core/anchors.cpp``), with the same result.
    """
    kinds = torch.arange(anchors.shape[1], device=anchors.device) // 2
    matched, unmatched = (
        anchors.new_tensor([getattr(one, key) for one in settings])[kinds] for key in ("matched", "unmatched")
    )  # (A,)
    inputs = anchors, frame, boxes, labels, box_frame
    fast = all(x.device.type == "cpu" for x in inputs) and anchors.dtype == boxes.dtype == torch.float32
    compiled = operators() if fast else None
    if compiled is not None:
        return compiled.match_anchors(*inputs, matched, unmatched, any_class)
    return match_plainly(*inputs, matched, unmatched, any_class)


def match_plainly(
    anchors: Tensor,
    frame: Tensor,
    boxes: Tensor,
    labels: Tensor,
    box_frame: Tensor,
    matched: Tensor,
    unmatched: Tensor,
    any_class: bool,
) -> Tensor:
    """:func:`match` in plain torch; ``matched`` and ``unmatched`` (A,) are the limits of each kind of anchor.

    Only pairs close enough to touch are compared, a few hundred sites per object.
    """
    sites, kinds, _ = anchors.shape
    result = torch.full((sites * kinds,), -1, dtype=torch.int64, device=anchors.device)
    if sites == 0 or len(boxes) == 0:
        return result.view(sites, kinds)
    flat = anchors.reshape(-1, 7)
    longest = anchors[..., 3:5].norm(dim=2)  # (S, A)
    longest = longest.amax(dim=1, keepdim=True) if any_class else longest[:, 2 * labels]  # (S, B) or (S, 1)
    reach = (boxes[:, 3:5].norm(dim=1) + longest) / 2  # (S, B)
    near = frame[:, None] == box_frame  # (S, B)
    for axis in range(2):
        near &= (anchors[:, 0, axis, None] - boxes[:, axis]).abs() < reach
    site, box = torch.nonzero(near, as_tuple=True)
    own = torch.arange(kinds if any_class else 2, device=flat.device)  # per site: all, or both headings of its class
    first = site * kinds + (0 if any_class else 2 * labels[box])
    anchor, box = (first[:, None] + own).flatten(), box.repeat_interleave(len(own))  # (N,) each
    overlap = aligned_iou(flat[anchor], boxes[box])  # (N,)

    best = overlap.new_zeros(sites * kinds).scatter_reduce(0, anchor, overlap, "amax")
    most = overlap.new_zeros(len(boxes)).scatter_reduce(0, box, overlap, "amax")
    result[best >= unmatched.repeat(sites)] = -2
    for wins in (
        (overlap == best[anchor]) & (overlap >= matched.repeat(sites)[anchor]),
        (overlap == most[box]) & (overlap > 0),
    ):
        result.scatter_reduce_(0, anchor[wins], box[wins], "amax", include_self=False)
    return result.view(sites, kinds)
