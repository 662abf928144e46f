"""The outcomes of one frame: true positives, false positives and missed objects."""

from dataclasses import dataclass

import numpy as np

TRUE_POSITIVE, FALSE_POSITIVE, MISSED, IGNORED = "true positive", "false positive", "missed", "not judged"


@dataclass
class Panel:
    """The detections of one detector in one frame, and the labels that it misses."""

    title: str
    boxes: np.ndarray  # (B, 7)
    outcomes: np.ndarray  # (B,) of TRUE_POSITIVE, FALSE_POSITIVE, MISSED, IGNORED
    scores: np.ndarray  # (B,) [0..1]; NaN for a label
    names: np.ndarray | None = None  # (B,) classes, for colours by class
    velocities: np.ndarray | None = None  # (B, 2) [m/s], for arrows; nan where unknown

    def count(self, outcome: str) -> int:
        """Number of boxes with that outcome."""
        return int(np.count_nonzero(self.outcomes == outcome))


def outcomes_of(right: np.ndarray, wrong: np.ndarray, missed: int) -> np.ndarray:
    """Outcomes (D + missed,) of D detections followed by ``missed`` labels.

    right, wrong: masks (D,); a detection in neither is not judged.
    """
    detections = np.where(right, TRUE_POSITIVE, np.where(wrong, FALSE_POSITIVE, IGNORED))
    return np.concatenate([detections, np.full(missed, MISSED)])
