"""Decoding of a centre head's prediction: the best class of each site, then suppression within each task."""

import numpy as np
import torch
from torch import Tensor

from mink_pd.config.centerpoint import CenterHeadConfig, CenterNMSConfig
from mink_pd.models.detector import Detections
from mink_pd.models.heads.anchor_decode import best, lowest_logit, suppress
from mink_pd.models.heads.center_head import CenterPrediction
from mink_pd.models.heads.center_targets import decode


def detect(
    prediction: CenterPrediction, tasks: list[list[int]], settings: CenterNMSConfig, head: CenterHeadConfig
) -> list[Detections]:
    """Detections of each frame, best first, at most ``settings.after``.

    tasks: the class numbers of each task.
    """
    found = []
    for frame in range(prediction.frames):
        here = torch.nonzero(prediction.frame == frame)[:, 0]
        each = [_of_task(prediction, here, task, classes, settings, head) for task, classes in enumerate(tasks)]
        found.append(best(each, settings.after))
    return found


def _of_task(
    prediction: CenterPrediction,
    here: Tensor,
    task: int,
    classes: list[int],
    settings: CenterNMSConfig,
    head: CenterHeadConfig,
) -> Detections:
    """Detections of one task at the sites with rows ``here`` (n,)."""
    highest = prediction.scores[here][:, classes].max(dim=1)  # (n,)
    if prediction.ious is None:
        near = torch.nonzero(highest.values >= lowest_logit(settings.score))[:, 0]  # (m,)
        site, kind, scores = here[near], highest.indices[near], torch.sigmoid(highest.values[near])
    else:
        iou = ((prediction.ious[here, task] + 1) / 2).clamp(0, 1)
        scores = torch.sigmoid(highest.values) ** (1 - head.rectifier) * iou**head.rectifier
        site, kind = here, highest.indices
    rows = torch.nonzero(scores >= settings.score)[:, 0]
    rows = rows[scores[rows].argsort(descending=True, stable=True)[: settings.before]]  # as best_rows
    site, scores = site[rows], scores[rows]
    labels = torch.tensor(classes, device=site.device)[kind[rows]]
    boxes = decode(prediction.boxes[site, task], prediction.corners[site], prediction.cell)
    if settings.kind == "circle":
        radius = settings.radius[min(task, len(settings.radius) - 1)]
        from mink_pd.boxes.nms import circle_nms  # needs numba, 0.15 s of imports that the engine does without

        positions = boxes[:, :2].detach().cpu().double().numpy()
        kept = circle_nms(positions, scores.detach().cpu().double().numpy(), radius, settings.after)
        rows = torch.from_numpy(np.asarray(kept, dtype=np.int64)).to(site.device)
    else:
        rows = suppress(boxes, scores, settings.iou, settings.after)
    velocities = None if prediction.velocities is None else prediction.velocities[site[rows], task]
    return Detections(boxes[rows], labels[rows], scores[rows], velocities)
