"""From matches to precision curves, average precision and the operating point."""

from dataclasses import dataclass

import numpy as np

from mink_pd.evaluate.matching import Task, count, found_scores

POINTS = 41  # recall 0, 1/40, ... 1


def score_cuts(scores: np.ndarray, counted: int) -> np.ndarray:
    """The score cuts of the curve's points, at most 41: those nearest to recall 0, 1/40, 2/40 and so on.

    scores: those at which a counted label is found, highest first; counted: number of labels to be found.
    """
    cuts = []
    recall = 0.0
    for i, score in enumerate(scores):
        left, right = (i + 1) / counted, (i + 2) / counted
        if i < len(scores) - 1 and right - recall < recall - left:
            continue
        cuts.append(score)
        recall += 1 / (POINTS - 1)
    return np.array(cuts, dtype=np.float64)


def average_precision(values: np.ndarray) -> dict[str, float]:
    """{"R40": AP, "R11": AP} in percent, from precision (or similarity) at each cut (K,), from the highest.

    Point k of the curve belongs to cut k; points without a cut are 0; a point becomes the maximum of
    itself and later ones.
    """
    curve = np.zeros(POINTS)
    curve[: len(values)] = values
    curve = np.maximum.accumulate(curve[::-1])[::-1]
    return {"R40": float(100 * curve[1:].sum() / 40), "R11": float(100 * curve[::4].sum() / 11)}


def curves(task: Task) -> tuple[dict[str, float], dict[str, float]]:
    """AP and average orientation similarity (AOS) of one class, level and kind of overlap."""
    cuts = score_cuts(found_scores(task), task.counted)
    right, wrong, alike = count(task, cuts)
    total = right + wrong
    precision, similarity = (
        np.divide(part, total, out=np.zeros_like(total), where=total > 0) for part in (right, alike)
    )
    return average_precision(precision), average_precision(similarity)


@dataclass(frozen=True)
class OperatingPoint:
    """Counts at one score cut: detections below ``score`` are dropped; ``counted`` labels should be
    found."""

    score: float
    true_positives: int
    false_positives: int
    counted: int
    frames: int

    @property
    def precision(self) -> float:
        """Share of the detections that are right; 0 without detections."""
        return self.true_positives / max(self.true_positives + self.false_positives, 1)

    @property
    def recall(self) -> float:
        """Share of the counted labels that are found; 0 without labels."""
        return self.true_positives / max(self.counted, 1)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.true_positives / max(self.true_positives + self.false_positives + self.counted, 1)

    @property
    def false_positives_per_frame(self) -> float:
        """False positives in a frame on average."""
        return self.false_positives / self.frames


def operating_point(task: Task, frames: int, score: float | None = None) -> OperatingPoint | None:
    """The point at ``score``, or else of the highest F1 among the cuts of the curve (the highest cut among
    equals).

    None when no score is given and nothing is found at any.
    """
    cuts = score_cuts(found_scores(task), task.counted) if score is None else np.array([score])
    right, wrong, _ = count(task, cuts)
    points = [
        OperatingPoint(float(cut), int(tp), int(fp), task.counted, frames)
        for cut, tp, fp in zip(cuts, right, wrong, strict=True)
    ]
    return max(points, key=lambda point: point.f1, default=None)
