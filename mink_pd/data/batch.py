"""Several frames as tensors: what a detector takes."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mink_pd.data.beams import as_seen
from mink_pd.data.frame import Frame


@dataclass
class Batch:
    """points (P, 4 or more) of all frames; frame (P,) int64, the frame each point belongs to; per frame boxes (B_i, 7),
    labels (B_i,) int64, index into the configured classes, and velocities (B_i, 2) [m/s], nan where unknown, or None
    where the data set has none; frames keep ids and calibration. weight: of the mean over these frames, where several
    processes have batches of different sizes and average their losses. scores (B_i,): of boxes that a detector found,
    inf of labelled ones; None where all are labelled. ignored (I_i, 7) and ignored_labels (I_i,) int64: boxes that may
    or may not be objects, so that a loss leaves out what lies there; None where there are none.
    teacher: the same frames with the points that only a teacher sees; None: it sees the same."""

    points: Tensor
    frame: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    frames: list[Frame]
    weight: float = 1.0
    velocities: list[Tensor] | None = None
    scores: list[Tensor] | None = None
    ignored: list[Tensor] | None = None
    ignored_labels: list[Tensor] | None = None
    teacher: "Batch | None" = None

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
    """Join frames, if any; boxes of classes that are not in ``classes`` are left out."""
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
