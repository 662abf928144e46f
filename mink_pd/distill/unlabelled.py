"""Pseudo-labels: a detector's boxes replace labels on frames without labels.

Boxes with a high score are objects, boxes with a medium score are ignored by the loss, and the rest is background. The
method follows Caine et al. 2021 ("Pseudo-labeling for Scalable 3D Object Detection", arXiv 2103.02093), who ignore no
boxes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mink_pd.data.loading.batch import Batch
from mink_pd.distill.labels import hold_a_point, with_teacher_labels
from mink_pd.models import Detections

BEV = [0, 1, 3, 4, 6]  # columns of a box: x, y, l, w, yaw
_SAME = 0.1  # BEV IoU from which a box counts as the labelled object that it overlaps


@dataclass(frozen=True)
class Levels:
    """The two scores of a class. inf: no box reaches the score; -inf: every box does."""

    upper: float  # a box with at least this score is an object
    lower: float  # a box between the two scores is ignored; one below both is background

    def __str__(self) -> str:
        return f"{_level(self.upper)} / {_level(self.lower)}"


class PseudoLabels:
    """Puts a detector's boxes into the unlabelled frames of a batch.

    levels: of each class, in the order of the classes. from_files: whether to use the boxes that were read with the
    frames instead of the teacher's.
    """

    def __init__(self, levels: Sequence[Levels], from_files: bool = False) -> None:
        self.levels, self.from_files = list(levels), from_files

    def __call__(self, batch: Batch, found: Sequence[Detections]) -> tuple[Batch, dict[str, Tensor]]:
        """The batch with objects and ignored boxes in its unlabelled frames, and values to log.

        found: the teacher's detections in each frame. Objects that were pasted into an unlabelled frame stay, and a box
        that overlaps one of them is left out. If the teacher sees more points than the student, a box without a point
        of the student is left out, too, like a labelled object without a point. Logs: ``unlabelled/kept`` and
        ``unlabelled/ignored``, the number of boxes per unlabelled frame.
        """
        labelled, brought = _split(batch)
        nothing = Detections.none(batch.points.device)
        objects, ignored = [nothing] * len(batch), [nothing] * len(batch)
        unlabelled = [index for index, frame in enumerate(batch.frames) if not frame.labelled]
        for index in unlabelled:
            boxes = brought[index] if self.from_files else _seen(found[index], batch, index)
            objects[index], ignored[index] = self._sort(boxes, labelled.boxes[index])
        logs = {
            f"unlabelled/{name}": torch.as_tensor(sum(len(each.scores) for each in boxes_of) / len(unlabelled))
            for name, boxes_of in (("kept", objects), ("ignored", ignored))
            if unlabelled
        }
        result = with_teacher_labels(labelled, objects, -math.inf)
        result.ignored = [each.boxes for each in ignored]
        result.ignored_labels = [each.labels for each in ignored]
        return result, logs

    def _sort(self, found: Detections, labelled: Tensor) -> tuple[Detections, Detections]:
        """Objects and ignored boxes, without those that overlap ``labelled`` objects (L, 7)."""
        upper, lower = (
            found.scores.new_tensor([getattr(level, name) for level in self.levels])[found.labels]
            for name in ("upper", "lower")
        )
        from mink_pd.boxes.iou import bev_iou  # needs numba, 0.15 s of imports that the engine does without

        free = torch.ones_like(found.labels, dtype=torch.bool)
        if len(labelled) and len(free):
            overlap = bev_iou(*(each[:, BEV].detach().double().cpu().numpy() for each in (found.boxes, labelled)))
            free = torch.from_numpy(overlap.max(axis=1) < _SAME).to(free.device)
        sure = free & (found.scores >= upper)
        return _rows(found, sure), _rows(found, free & ~sure & (found.scores >= lower))


def summary(levels: Mapping[str, Levels]) -> str:
    """The scores of each class in one line, as upper / lower."""
    return ", ".join(f"{name} {each}" for name, each in levels.items())


def _level(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "none" if value > 0 else "all"


def _rows(found: Detections, chosen: Tensor) -> Detections:
    velocities = None if found.velocities is None else found.velocities[chosen]
    return Detections(found.boxes[chosen], found.labels[chosen], found.scores[chosen], velocities)


def _seen(found: Detections, batch: Batch, index: int) -> Detections:
    """The teacher's boxes that contain a point of the student's frame; all boxes if both see the same points."""
    if batch.teacher is None or not len(found.scores):
        return found
    return _rows(found, hold_a_point(found.boxes, batch.points[batch.frame == index]))


def _split(batch: Batch) -> tuple[Batch, list[Detections]]:
    """The batch with only its labelled objects, and the boxes that were read with each frame."""
    if batch.scores is None:
        return batch, [Detections.none(batch.points.device)] * len(batch)
    own = [scores.isinf() for scores in batch.scores]

    def labelled(values: list[Tensor]) -> list[Tensor]:
        return [each[rows] for each, rows in zip(values, own, strict=True)]

    brought = [
        Detections(boxes[~rows], labels[~rows], scores[~rows])
        for boxes, labels, scores, rows in zip(batch.boxes, batch.labels, batch.scores, own, strict=True)
    ]
    velocities = None if batch.velocities is None else labelled(batch.velocities)
    boxes, labels = labelled(batch.boxes), labelled(batch.labels)
    return replace(batch, boxes=boxes, labels=labels, velocities=velocities, scores=None), brought
