"""Matching of a frame's detections and objects by distance of centres, as in nuScenes (Caesar et al., CVPR 2020,
section 3.1), for viewers. Figures of whole data sets come from the official devkit."""

from dataclasses import dataclass

import numpy as np

from mink_pd.evaluate.best_first import PossibleMatches, best_first, match_best_first

TRUE_POSITIVE_DISTANCE = 2.0  # the matching distance of the benchmark's error terms [m]


@dataclass
class CentreMatch:
    """The outcome of each detection and object of a frame."""

    true_positive: np.ndarray  # (D,) bool, of the detections
    missed: np.ndarray  # (B,) bool, of the objects


def match_centres(
    boxes: np.ndarray,
    names: np.ndarray,
    found_boxes: np.ndarray,
    found_names: np.ndarray,
    scores: np.ndarray,
    distance: float = TRUE_POSITIVE_DISTANCE,
) -> CentreMatch:
    """Match objects (B, 7) and detections (D, 7) of the same class, greedily in order of falling score.

    Each detection takes the free object whose centre is nearest in x and y, if it is nearer than ``distance`` [m].
    """
    apart = np.linalg.norm(found_boxes[:, None, :2] - boxes[None, :, :2], axis=2)  # (D, B)
    detection, label = np.nonzero((found_names[:, None] == names) & (apart < distance))
    fits = PossibleMatches(label, detection, -apart[detection, label].astype(np.float64))
    match = match_best_first(fits, best_first(scores), np.ones(len(boxes), dtype=bool))
    return CentreMatch(match >= 0, ~np.isin(np.arange(len(boxes)), match))
