"""Label distillation (SparseKD, Yang et al., NeurIPS 2022): the teacher's boxes are added to the ground truth."""

from dataclasses import replace

import torch
from torch import Tensor

from mink_pd.boxes.geometry import pairs_in_boxes
from mink_pd.data.loading.batch import Batch
from mink_pd.models import Detections


def with_teacher_labels(batch: Batch, found: list[Detections], least: float) -> Batch:
    """The batch with the teacher's detections of a score of ``least`` or more among its objects, before the labelled
    ones; velocities that the teacher does not predict are unknown.

    Detections without a point that the student sees are left out: so are labelled objects.
    """
    boxes, labels, velocities = [], [], []
    for index, frame in enumerate(found):
        sure = frame.scores >= least
        if batch.teacher is not None:
            sure &= hold_a_point(frame.boxes, batch.points[batch.frame == index])
        boxes.append(torch.cat([frame.boxes[sure].to(batch.boxes[index].dtype), batch.boxes[index]]))
        labels.append(torch.cat([frame.labels[sure], batch.labels[index]]))
        if batch.velocities is not None:
            known = batch.velocities[index]
            said = (
                known.new_full((int(sure.sum()), 2), torch.nan) if frame.velocities is None else frame.velocities[sure]
            )
            velocities.append(torch.cat([said.to(known.dtype), known]))
    return replace(batch, boxes=boxes, labels=labels, velocities=None if batch.velocities is None else velocities)


def hold_a_point(boxes: Tensor, points: Tensor) -> Tensor:
    """Which boxes (B, 7) hold any of the points (P, 3 or more): bool (B,)."""
    box, _ = pairs_in_boxes(points.detach().cpu().numpy(), boxes.detach().cpu().numpy())
    held = torch.zeros(len(boxes), dtype=torch.bool)
    held[torch.from_numpy(box)] = True
    return held.to(boxes.device)
