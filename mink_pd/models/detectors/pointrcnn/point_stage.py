"""Targets and losses of the first stage, in which every point predicts whether it is in an object, and its box."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mink_pd.boxes.geometry import points_in_boxes
from mink_pd.config.pointrcnn import PointLossConfig
from mink_pd.data.loading.batch import Batch
from mink_pd.models.detectors.pointrcnn.coder import BoxCoder
from mink_pd.models.heads.losses import focal_loss
from mink_pd.points import PointSample
from mink_pd.processes import shared_count


@dataclass
class PointTargets:
    """The targets of S points."""

    labels: Tensor  # (S,) int64: class, -1 background, -2 ignored
    boxes: Tensor  # (S, 7), the object of each foreground point


def assign_points(sample: PointSample, batch: Batch, margin: float) -> PointTargets:
    """A point inside a box is foreground. One inside a box enlarged by ``margin`` [m] on all sides is ignored."""
    labels, targets = [], []
    for points, frame in zip(sample.points, sample.present.tolist(), strict=True):
        boxes, classes = batch.boxes[frame].cpu().numpy(), batch.labels[frame].cpu().numpy()  # (B, 7), (B,)
        label = np.full(len(points), -1)
        own = np.zeros((len(points), 7), np.float32)
        if len(boxes):
            xyz = points[:, :3].cpu().numpy()
            wide = boxes + np.array([0, 0, 0, 1, 1, 1, 0]) * 2 * margin
            inside, near = points_in_boxes(xyz, boxes), points_in_boxes(xyz, wide).any(axis=0)  # (B, N), (N,)
            label[near] = -2
            foreground, first = inside.any(axis=0), inside.argmax(axis=0)
            label[foreground] = classes[first[foreground]]
            own[foreground] = boxes[first[foreground]]
        labels.append(torch.from_numpy(label))
        targets.append(torch.from_numpy(own))
    device = sample.points.device
    return PointTargets(torch.cat(labels).to(device), torch.cat(targets).to(device))


def point_loss(
    logits: Tensor, codes: Tensor, xyz: Tensor, targets: PointTargets, coder: BoxCoder, sizes: Tensor,
    settings: PointLossConfig,
) -> dict[str, Tensor]:  # fmt: skip
    """Focal loss of all points divided by the number of foreground points, and mean box loss of foreground points.

    logits: (S, classes).
    codes: (S, C).
    xyz: (S, 3) [m].
    sizes: (classes, 3), mean sizes [m].
    """
    labels = targets.labels
    foreground = torch.nonzero(labels >= 0)[:, 0]  # (n,)
    wanted = torch.zeros_like(logits)
    wanted[foreground, labels[foreground]] = 1
    each = focal_loss(logits, wanted, settings.focal_alpha, settings.focal_gamma).sum(dim=1)
    share = 1 / shared_count(len(foreground))
    box = coder.loss(codes[foreground], targets.boxes[foreground], xyz[foreground], sizes[labels[foreground]])
    return {
        "point": settings.point * share * (each * (labels != -2)).sum(),
        "point_box": settings.point_box * share * box.sum(),
    }
