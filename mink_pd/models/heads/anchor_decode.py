"""Decoding of an anchor head's prediction, and non-maximum suppression per class."""

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from mink_pd.config.models import NMSConfig
from mink_pd.models.detector import AnchorPrediction, Detections
from mink_pd.models.heads.anchors import decode, with_direction

MARGIN = 0.01  # of a logit below the threshold: more than rounding moves one whose sigmoid is at most ``MOST``
MOST = 1 - 1e-4


def detect(prediction: AnchorPrediction, settings: NMSConfig, direction_offset: float) -> list[Detections]:
    """Detections of each frame, best first, at most ``settings.after``."""
    logits = prediction.scores  # (S, A, classes)
    site, anchor, label = torch.nonzero(logits >= lowest_logit(settings.score), as_tuple=True)  # (n,) each
    score = torch.sigmoid(logits[site, anchor, label])
    frame, passed = prediction.frame[site], score >= settings.score
    result = []
    for number in range(prediction.frames):
        here = passed & (frame == number)
        rows = [best_rows(score, here & (label == kind), settings.before) for kind in range(logits.shape[2])]
        chosen = torch.cat(rows)
        candidates = _decoded(prediction, site[chosen], anchor[chosen], score[chosen], label[chosen], direction_offset)
        kept = _suppress_each(candidates, [len(some) for some in rows], settings.iou)
        result.append(best([take(candidates, kept)], settings.after))
    return result


def lowest_logit(score: float) -> float:
    """A logit below all those whose sigmoid may reach ``score`` in [0, 1]: what is lower needs no sigmoid.

    Few of a prediction's logits come near the threshold, so that one comparison leaves little to compute.
    """
    score = min(score, MOST)
    return -math.inf if score <= 0 else math.log(score) - math.log1p(-score) - MARGIN


def best(found: list[Detections], most: int) -> Detections:
    """The detections of all classes together, best first, at most ``most``."""
    boxes, labels, scores = (torch.cat([getattr(one, key) for one in found]) for key in ("boxes", "labels", "scores"))
    velocities = [one.velocities for one in found if one.velocities is not None]
    order = scores.argsort(descending=True, stable=True)[:most]
    return Detections(boxes[order], labels[order], scores[order], torch.cat(velocities)[order] if velocities else None)


def best_rows(score: Tensor, among: Tensor, most: int) -> Tensor:
    """Rows int64 of the highest scores (n,) among the rows marked in ``among`` (n,), at most ``most``; among equal
    scores the first rows."""
    rows = torch.nonzero(among)[:, 0]
    return rows if len(rows) <= most else rows[score[rows].argsort(descending=True, stable=True)[:most]]


def take(detections: Detections, rows: Tensor) -> Detections:
    """Some of the detections, in the order of the rows."""
    velocities = None if detections.velocities is None else detections.velocities[rows]
    return Detections(detections.boxes[rows], detections.labels[rows], detections.scores[rows], velocities)


def _decoded(
    prediction: AnchorPrediction, site: Tensor, anchor: Tensor, score: Tensor, label: Tensor, direction_offset: float
) -> Detections:
    """What the anchors at these sites predict, all arguments (n,)."""
    said = prediction.at(site, anchor)
    boxes = decoded_boxes(said.boxes, said.directions, prediction.anchors[site, anchor], direction_offset)  # (n, 7)
    return Detections(boxes, label, score, said.velocities)


def _suppress_each(candidates: Detections, counts: list[int], iou: float) -> Tensor:
    """Rows int64 that rotated NMS keeps of each class; the candidates are in the order of their classes, so many of
    each."""
    boxes, scores = candidates.boxes.split(counts), candidates.scores.split(counts)
    begins = itertools.accumulate(counts, initial=0)
    kept = [suppress(some, score, iou) + begin for some, score, begin in zip(boxes, scores, begins, strict=False)]
    return torch.cat(kept)


def suppress(boxes: Tensor, scores: Tensor, iou: float, limit: int | None = None) -> Tensor:
    """Rows int64 of the boxes (B, 7) that rotated NMS keeps, best first, at most ``limit``."""
    from mink_pd.boxes.nms import nms  # needs numba, 0.15 s of imports that the engine does without

    kept = nms(boxes.detach().cpu().double().numpy(), scores.detach().cpu().double().numpy(), iou, limit)
    return torch.from_numpy(np.asarray(kept, dtype=np.int64)).to(boxes.device)


def decoded_boxes(residuals: Tensor, directions: Tensor, anchors: Tensor, direction_offset: float) -> Tensor:
    """Boxes (N, 7) of residuals (N, 7) and direction logits (N, 2) at anchors (N, 7)."""
    boxes = decode(residuals, anchors)
    yaw = with_direction(boxes[:, 6], directions.argmax(dim=1), direction_offset)
    return torch.cat([boxes[:, :6], yaw[:, None]], dim=1)
