"""Decoding of an anchor head's prediction, and non-maximum suppression per class."""

import numpy as np
import torch
from torch import Tensor

from mink_pd.boxes.nms import nms
from mink_pd.config.models import NMSConfig
from mink_pd.models.anchors import decode, with_direction
from mink_pd.models.detector import AnchorPrediction, Detections


def detect(prediction: AnchorPrediction, settings: NMSConfig, direction_offset: float) -> list[Detections]:
    """Detections of each frame, best first, at most ``settings.after``."""
    scores = torch.sigmoid(prediction.scores)  # (S, A, classes)
    result = []
    for frame in range(prediction.frames):
        here = prediction.frame == frame
        found = [
            _of_class(prediction, scores, here, label, settings, direction_offset)
            for label in range(prediction.scores.shape[2])
        ]
        result.append(best(found, settings.after))
    return result


def best(found: list[Detections], most: int) -> Detections:
    """The detections of all classes together, best first, at most ``most``."""
    boxes, labels, scores = (torch.cat([getattr(one, key) for one in found]) for key in ("boxes", "labels", "scores"))
    velocities = [one.velocities for one in found if one.velocities is not None]
    order = scores.argsort(descending=True, stable=True)[:most]
    return Detections(boxes[order], labels[order], scores[order], torch.cat(velocities)[order] if velocities else None)


def _of_class(
    prediction: AnchorPrediction, scores: Tensor, here: Tensor, label: int, settings: NMSConfig, direction_offset: float
) -> Detections:
    """Detections of one class at the sites with rows ``here`` (S,)."""
    site, anchor = torch.nonzero((scores[..., label] >= settings.score) & here[:, None], as_tuple=True)
    score = scores[site, anchor, label]
    if len(score) > settings.before:
        best = score.topk(settings.before).indices
        site, anchor, score = site[best], anchor[best], score[best]
    boxes = decoded_boxes(
        prediction.boxes[site, anchor],
        prediction.directions[site, anchor],
        prediction.anchors[site, anchor],
        direction_offset,
    )
    rows = suppress(boxes, score, settings.iou)
    moving = prediction.velocities
    velocities = None if moving is None else moving[site[rows], anchor[rows]]
    return Detections(boxes[rows], torch.full_like(rows, label), score[rows], velocities)


def suppress(boxes: Tensor, scores: Tensor, iou: float, limit: int | None = None) -> Tensor:
    """Rows int64 of the boxes (B, 7) that rotated NMS keeps, best first, at most ``limit``."""
    kept = nms(boxes.detach().cpu().double().numpy(), scores.detach().cpu().double().numpy(), iou, limit)
    return torch.from_numpy(np.asarray(kept, dtype=np.int64)).to(boxes.device)


def decoded_boxes(residuals: Tensor, directions: Tensor, anchors: Tensor, direction_offset: float) -> Tensor:
    """Boxes (N, 7) of residuals (N, 7) and direction logits (N, 2) at anchors (N, 7)."""
    boxes = decode(residuals, anchors)
    yaw = with_direction(boxes[:, 6], directions.argmax(dim=1), direction_offset)
    return torch.cat([boxes[:, :6], yaw[:, None]], dim=1)
