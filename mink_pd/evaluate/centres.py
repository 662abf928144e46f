"""Which detections fit which objects by the distance of their centres, as nuScenes judges (Caesar et al., CVPR 2020,
section 3.1): what a frame's matches mean for a viewer. Figures of whole data sets come from the official devkit."""

from dataclasses import dataclass

import numpy as np

from mink_pd.evaluate.best_first import Fits, best_first, match_best_first

TRUE_POSITIVE_DISTANCE = 2.0  # [m] of the benchmark's error terms


@dataclass
class CentreMatch:
    """true_positive: (D,) bool, of the detections; missed: (B,) bool, of the objects."""

    true_positive: np.ndarray
    missed: np.ndarray


def match_centres(
    boxes: np.ndarray,
    names: np.ndarray,
    found_boxes: np.ndarray,
    found_names: np.ndarray,
    scores: np.ndarray,
    distance: float = TRUE_POSITIVE_DISTANCE,
) -> CentreMatch:
    """Objects (B, 7) and detections (D, 7) with their class names: the best-scored detection chooses first.

    It takes the nearest object of its class, seen from above, that no other has taken, if that is nearer than
    ``distance`` [m].
    """
    apart = np.linalg.norm(found_boxes[:, None, :2] - boxes[None, :, :2], axis=2)  # (D, B)
    detection, label = np.nonzero((found_names[:, None] == names) & (apart < distance))
    fits = Fits(label, detection, -apart[detection, label].astype(np.float64))
    match = match_best_first(fits, best_first(scores), np.ones(len(boxes), dtype=bool))
    return CentreMatch(match >= 0, ~np.isin(np.arange(len(boxes)), match))
