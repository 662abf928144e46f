"""What the teacher finds important in one frame, for people to look at (PointDistiller's Figure 3)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mink_pd.data.batch import collate
from mink_pd.data.frame import Frame
from mink_pd.distill.importance import Importance, importance, inside_share, pool, select
from mink_pd.errors import DistillError
from mink_pd.models import Detector
from mink_pd.sparse import Tap

GROUND = -1.6  # z of a site without points, about the road's height below KITTI's LiDAR [m]


@dataclass
class ImportanceView:
    """points (P, 4) within the detector's range, their importance (P,), centres (N, 3) [m] of the selected sites, the
    share of these inside labelled boxes (B, 7)."""

    points: np.ndarray
    importance: np.ndarray
    selected: np.ndarray
    inside: float
    boxes: np.ndarray


@torch.inference_mode()
def inspect_importance(detector: Detector, frame: Frame, tap: str, kind: Importance, rows: int) -> ImportanceView:
    """Importance of every point and the ``rows`` sites that distillation would select at ``tap``.

    Raises DistillError for a tap that the detector has not, or a frame without points in its range.
    """
    if tap not in detector.tap_channels():
        raise DistillError(f"no tap '{tap}'; choose from {', '.join(detector.tap_channels())}")
    device = next(detector.parameters()).device
    batch = collate([frame], detector.classes).to(device)
    taps = detector.eval()(batch).taps
    if tap not in taps:
        raise DistillError(f"frame {frame.id} has no point within the detector's range; choose another frame")
    here = taps[tap]
    values = importance(kind, tap, taps)  # (M,)
    voxels = here.voxels
    cells = pool(values, here.coordinates, here.stride, voxels.coordinates, 1, "amax")  # (pillars,)
    chosen = select(values, here.frame, 1, rows)[0]
    return ImportanceView(
        points=voxels.points.cpu().numpy(),
        importance=cells[voxels.rows].cpu().numpy(),
        selected=_places(here, chosen).cpu().numpy(),
        inside=float(inside_share(here.centres[chosen], batch.boxes[0])),
        boxes=batch.boxes[0].cpu().numpy(),
    )


def _places(tap: Tap, rows: Tensor) -> Tensor:
    """Centres (n, 3) of sites; a pillar's height is that of its highest point."""
    centres = tap.centres[rows]
    if centres.shape[1] == 3:
        return centres
    voxels = tap.voxels
    top = torch.full((len(voxels),), -torch.inf, device=centres.device)
    top.scatter_reduce_(0, voxels.rows, voxels.points[:, 2], "amax")
    heights = pool(top - GROUND, voxels.coordinates, 1, tap.coordinates, tap.stride, "amax")[rows] + GROUND
    return torch.cat([centres, heights[:, None]], dim=1)
