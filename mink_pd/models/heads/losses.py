"""The detection loss of SECOND and PointPillars."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mink_pd.config.models import AnchorConfig, HeadConfig, LossConfig
from mink_pd.data.loading.batch import Batch
from mink_pd.models.detector import AnchorPrediction
from mink_pd.models.heads.anchors import direction_class, encode, match
from mink_pd.native.operators import operators

BETA = 1 / 9  # residual at which the smooth L1 loss changes from quadratic to linear, as published


@dataclass
class Targets:
    """The targets of S sites with A anchors, N of them positive."""

    labels: Tensor  # (S, A) int64: class, -1 background, -2 ignored
    site: Tensor  # (N,) int64, sites of the positive anchors
    anchor: Tensor  # (N,) int64, numbers of the positive anchors at their sites
    boxes: Tensor  # (N, 7), their objects
    velocities: Tensor  # (N, 2) [m/s]; nan where unknown


def assign_targets(
    prediction: AnchorPrediction, batch: Batch, anchors: list[AnchorConfig], any_class: bool = False
) -> Targets:
    """Match the anchors of each class with the objects of that class in the same frame.

    An anchor without an object is ignored if it would not be background with the batch's ignored boxes as objects.
    any_class: match all anchors with objects of all classes.
    """
    boxes, classes = torch.cat(batch.boxes), torch.cat(batch.labels)  # (B, 7), (B,)
    velocities = torch.full_like(boxes[:, :2], torch.nan) if batch.velocities is None else torch.cat(batch.velocities)

    def matched(boxes: list[Tensor], labels: list[Tensor]) -> Tensor:
        where = prediction.anchors, prediction.frame
        return match(*where, torch.cat(boxes), torch.cat(labels), frames_of(boxes), anchors, any_class)

    row = matched(batch.boxes, batch.labels)  # (S, A)
    if batch.ignored is not None and batch.ignored_labels is not None:
        row[(row == -1) & (matched(batch.ignored, batch.ignored_labels) != -1)] = -2
    site, anchor = torch.nonzero(row >= 0, as_tuple=True)  # (N,)
    own = row[site, anchor]
    row[site, anchor] = classes[own]
    return Targets(row, site, anchor, boxes[own], velocities[own])


def frames_of(boxes: list[Tensor]) -> Tensor:
    """The frame int64 (B,) of each of the boxes (B_i, 7) of several frames."""
    device = boxes[0].device
    count = torch.tensor([len(each) for each in boxes], device=device)
    return torch.repeat_interleave(torch.arange(len(count), device=device), count)


def focal_loss(logits: Tensor, positive: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal loss of every logit (Lin et al. 2017, equation 5), for targets 0 or 1 of the same shape."""
    probability = torch.sigmoid(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, positive, reduction="none")
    wrong = torch.where(positive > 0, 1 - probability, probability)
    weight = torch.where(positive > 0, alpha, 1 - alpha)
    return weight * wrong**gamma * entropy


def weighted_focal_loss(logits: Tensor, labels: Tensor, share: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal loss of logits (S, A, classes), each site weighted with ``share`` (S,), summed: a scalar.

    labels: int64 (S, A), the class, -1 background, -2 ignored. On the CPU in float32, compiled code computes loss and
    gradient in one pass (``csrc/core/focal.cpp``); the sum differs from torch's in its last bits.
    """
    tensors = (logits, labels, share)
    fast = all(x.device.type == "cpu" for x in tensors) and logits.dtype == share.dtype == torch.float32
    compiled = operators() if fast and not share.requires_grad else None
    if compiled is not None:
        return _WeightedFocalLoss.apply(logits, labels, share, alpha, gamma, compiled)
    classes = torch.arange(logits.shape[2], device=labels.device)
    wanted = (labels[..., None] == classes).to(logits.dtype)  # (S, A, classes)
    each = focal_loss(logits, wanted, alpha, gamma).sum(dim=2) * (labels != -2)  # (S, A)
    return (each.sum(dim=1) * share).sum()


class _WeightedFocalLoss(torch.autograd.Function):
    """The loss is linear in its upstream gradient, so forward computes the gradient too and backward scales it."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, share: Tensor, alpha: float, gamma: float, compiled: Any
    ) -> Tensor:
        total, gradient = compiled.focal_loss(logits, labels, share, alpha, gamma)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0], None, None, None, None, None


def box_loss(residuals: Tensor, targets: Tensor) -> Tensor:
    """Smooth L1 loss with the sine of the angle difference, which ignores half turns (SECOND, section 3.3.2)."""
    angle, wanted = residuals[:, 6:], targets[:, 6:]
    ours = torch.cat([residuals[:, :6], torch.sin(angle) * torch.cos(wanted)], dim=1)
    theirs = torch.cat([targets[:, :6], torch.cos(angle) * torch.sin(wanted)], dim=1)
    return F.smooth_l1_loss(ours, theirs, beta=BETA, reduction="none").sum(dim=1)


def velocity_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Smooth L1 loss (N,) of velocities (N, 2) [m/s]; 0 where ``wanted`` is nan."""
    each = F.smooth_l1_loss(predicted, wanted.nan_to_num(), beta=BETA, reduction="none")
    return each.masked_fill(wanted.isnan(), 0).sum(dim=1)


def detection_loss(
    prediction: AnchorPrediction,
    batch: Batch,
    anchors: list[AnchorConfig],
    settings: LossConfig,
    head: HeadConfig,
) -> dict[str, Tensor]:
    """Weighted terms ``classification``, ``box``, ``direction`` and, if predicted, ``velocity``.

    Each term is divided by the number of positive anchors per frame, and then averaged over the frames.
    """
    targets = assign_targets(prediction, batch, anchors, head.any_class)
    positive = targets.labels >= 0  # (S, A)
    per_frame = torch.zeros(prediction.frames, device=positive.device)
    per_frame.index_add_(0, prediction.frame, positive.sum(dim=1).to(per_frame.dtype))
    share = batch.weight / (per_frame.clamp(min=1) * prediction.frames)  # (frames,)
    site_share = share[prediction.frame]  # (S,)

    alpha, gamma = settings.focal_alpha, settings.focal_gamma
    classification = weighted_focal_loss(prediction.scores, targets.labels, site_share, alpha, gamma)
    site, anchor = targets.site, targets.anchor
    objects, own = targets.boxes, prediction.anchors[site, anchor]  # (positives, 7)
    said = prediction.at(site, anchor)
    box = (box_loss(said.boxes, encode(objects, own)) * site_share[site]).sum()
    halves = direction_class(objects[:, 6], head.direction_offset)  # (positives,)
    turned = F.cross_entropy(said.directions, halves, reduction="none")
    direction = (turned * site_share[site]).sum()
    terms = {
        "classification": settings.classification * classification,
        "box": settings.box * box,
        "direction": settings.direction * direction,
    }
    if said.velocities is not None:
        off = velocity_loss(said.velocities, targets.velocities)  # (positives,)
        terms["velocity"] = settings.velocity * (off * site_share[site]).sum()
    return terms
