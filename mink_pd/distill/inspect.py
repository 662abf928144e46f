"""What the teacher finds important in one frame, for pictures (PointDistiller, Figure 3)."""

from dataclasses import dataclass

import numpy as np
import torch

from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate
from mink_pd.distill.importance import importance, inside_share, needs_student, select
from mink_pd.errors import DistillError
from mink_pd.models import Detector
from mink_pd.registry import IMPORTANCES


@dataclass
class ImportanceView:
    """points (P, 4) within the detector's range, their importance (P,), centres (N, 3) [m] of the selected sites, the
    share of these inside labelled boxes, those boxes (B, 7) whose centre is within the range seen from above, and their
    velocities (B, 2) [m/s] where the data set has any."""

    points: np.ndarray
    importance: np.ndarray
    selected: np.ndarray
    inside: float
    boxes: np.ndarray
    velocities: np.ndarray | None = None


@torch.inference_mode()
def inspect_importance(detector: Detector, frame: Frame, tap: str, kind: str, rows: int) -> ImportanceView:
    """Importance of every point and the ``rows`` sites that distillation would select at ``tap``.

    Raises DistillError for a tap that the detector lacks, for an importance that compares it with a student, or for a
    frame without points in its range.
    """
    if needs_student(kind):
        able = ", ".join(name for name in IMPORTANCES if not needs_student(name))
        raise DistillError(f"importance '{kind}' compares a teacher with a student; choose from {able}")
    if tap not in detector.tap_channels():
        raise DistillError(f"no tap '{tap}'; choose from {', '.join(detector.tap_channels())}")
    device = next(detector.parameters()).device
    batch = collate([frame], detector.classes).to(device)
    taps = detector.eval()(batch).taps
    if tap not in taps:
        raise DistillError(f"frame {frame.id} has no point within the detector's range; choose another frame")
    here = taps[tap]
    values = importance(kind, tap, taps)  # (M,)
    chosen = select(values, here.frame, 1, rows)[0]
    boxes, bounds = batch.boxes[0].cpu().numpy(), detector.config.data.range
    near = ((boxes[:, :2] >= bounds[:2]) & (boxes[:, :2] <= bounds[3:5])).all(axis=1)  # (B,)
    return ImportanceView(
        points=here.points.cpu().numpy(),
        importance=here.on_points(values).cpu().numpy(),
        selected=here.positions(chosen).cpu().numpy(),
        inside=float(inside_share(here.centres[chosen], batch.boxes[0])),
        boxes=boxes[near],
        velocities=None if batch.velocities is None else batch.velocities[0].cpu().numpy()[near],
    )
