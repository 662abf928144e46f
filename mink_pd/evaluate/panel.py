"""What became of the boxes of one frame: which detections are right, which are wrong, and which objects are missed."""

from dataclasses import dataclass

import numpy as np

TRUE_POSITIVE, FALSE_POSITIVE, MISSED, IGNORED = "true positive", "false positive", "missed", "not judged"


@dataclass
class Panel:
    """One detector's result in one frame.

    boxes: (B, 7), detections and missed labels; outcomes: (B,) of TRUE_POSITIVE, FALSE_POSITIVE, MISSED,
    IGNORED; scores: (B,) [0..1], NaN where a box has none. names: (B,) classes of nuScenes, for colours by class;
    velocities: (B, 2) [m/s], nan where unknown, for arrows.
    """

    title: str
    boxes: np.ndarray
    outcomes: np.ndarray
    scores: np.ndarray
    names: np.ndarray | None = None
    velocities: np.ndarray | None = None

    def count(self, outcome: str) -> int:
        """How many boxes have that outcome."""
        return int(np.count_nonzero(self.outcomes == outcome))


def outcomes_of(right: np.ndarray, wrong: np.ndarray, missed: int) -> np.ndarray:
    """Outcomes of detections (D,) that are right, wrong or, where both are False, not judged, and of ``missed`` labels
    after them: (D + missed,)."""
    detections = np.where(right, TRUE_POSITIVE, np.where(wrong, FALSE_POSITIVE, IGNORED))
    return np.concatenate([detections, np.full(missed, MISSED)])
