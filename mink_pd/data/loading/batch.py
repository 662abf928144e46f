"""Batches: several frames as tensors, the input of detectors."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mink_pd.data.frame import Frame
from mink_pd.data.loading.beams import as_seen


@dataclass
class Batch:
    """The points and labels of several frames; lists have one entry per frame."""

    points: Tensor  # (P, 4 or more) of all frames
    frame: Tensor  # (P,) int64, frame of each point
    boxes: list[Tensor]  # (B_i, 7)
    labels: list[Tensor]  # (B_i,) int64, index into the configured classes
    frames: list[Frame]  # for ids and calibration
    weight: float = 1.0  # of means over these frames, if processes have batches of different sizes
    velocities: list[Tensor] | None = None  # (B_i, 2) [m/s], nan where unknown; None: the data set has none
    scores: list[Tensor] | None = None  # (B_i,) of a detector's boxes, inf for labelled ones; None: all are labelled
    ignored: list[Tensor] | None = None  # (I_i, 7) boxes that may be objects, excluded from losses; None: no such box
    ignored_labels: list[Tensor] | None = None  # (I_i,) int64, of the ignored boxes
    teacher: "Batch | None" = None  # the same frames with the points that the teacher sees; None: it sees the same ones

    def __len__(self) -> int:
        return len(self.frames)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on ``device``."""

        def moved(values: list[Tensor] | None) -> list[Tensor] | None:
            return None if values is None else [value.to(device) for value in values]

        return replace(
            self,
            points=self.points.to(device),
            frame=self.frame.to(device),
            boxes=[b.to(device) for b in self.boxes],
            labels=[x.to(device) for x in self.labels],
            velocities=moved(self.velocities),
            scores=moved(self.scores),
            ignored=moved(self.ignored),
            ignored_labels=moved(self.ignored_labels),
            teacher=None if self.teacher is None else self.teacher.to(device),
        )


def collate(frames: list[Frame], classes: list[str]) -> Batch:
    """The batch of any number of frames. Boxes of classes that are not in ``classes`` are omitted."""
    batch = _join([as_seen(frame) for frame in frames], classes)
    if any(frame.seen is not None for frame in frames):
        batch.teacher = _join(frames, classes)
    return batch


def _join(frames: list[Frame], classes: list[str]) -> Batch:
    index = {name: i for i, name in enumerate(classes)}
    boxes, labels, velocities, scores = [], [], [], []
    for frame in frames:
        known = np.array([name in index for name in frame.names], dtype=bool)
        boxes.append(torch.from_numpy(frame.boxes[known].astype(np.float32)))
        labels.append(torch.tensor([index[name] for name in frame.names[known]], dtype=torch.int64))
        if frame.velocities is not None:
            velocities.append(torch.from_numpy(frame.velocities[known].astype(np.float32)))
        given = np.full(len(known), np.inf) if frame.scores is None else frame.scores
        scores.append(torch.from_numpy(given[known].astype(np.float32)))
    sizes = torch.tensor([len(frame.points) for frame in frames], dtype=torch.int64)
    points = [frame.points for frame in frames] or [np.zeros((0, 4), np.float32)]
    return Batch(
        points=torch.from_numpy(np.concatenate(points).astype(np.float32)),
        frame=torch.repeat_interleave(torch.arange(len(frames)), sizes),
        boxes=boxes,
        labels=labels,
        frames=frames,
        velocities=velocities if frames and len(velocities) == len(frames) else None,
        scores=scores if any(frame.scores is not None for frame in frames) else None,
    )
