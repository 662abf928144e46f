"""From matches to precision curves, average precision and the operating point."""

from dataclasses import dataclass

import numpy as np

from mink_pd.evaluate.matching import Task, count, found_scores

POINTS = 41  # recall 0, 1/40, ... 1


def score_cuts(scores: np.ndarray, counted: int) -> np.ndarray:
    """The score cuts of the curve's points, at most 41: the cuts nearest to recall 0, 1/40, 2/40 and so on.

    scores: scores at which a counted label is found, highest first.
    counted: number of counted labels.
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
    """{"R40": AP, "R11": AP} in percent.

    values: precision (or orientation similarity) at each cut (K,), highest cut first. Point k of the curve is value k;
    points without a cut are 0. Each point is then replaced by the maximum of itself and all later points.
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
    """Counts at one score cut."""

    score: float  # the cut; detections that score less are dropped
    true_positives: int
    false_positives: int
    counted: int  # number of counted labels
    frames: int

    @property
    def precision(self) -> float:
        """True positives divided by judged detections; 0 without detections."""
        return self.true_positives / max(self.true_positives + self.false_positives, 1)

    @property
    def recall(self) -> float:
        """True positives divided by counted labels; 0 without labels."""
        return self.true_positives / max(self.counted, 1)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.true_positives / max(self.true_positives + self.false_positives + self.counted, 1)

    @property
    def false_positives_per_frame(self) -> float:
        """Mean number of false positives per frame."""
        return self.false_positives / self.frames


def operating_point(task: Task, frames: int, score: float | None = None) -> OperatingPoint | None:
    """The operating point at ``score``; without it, the one of the highest F1 among the curve's cuts.

    Among equal F1 the highest cut is chosen. None if no score is given and nothing is found at any cut.
    """
    cuts = score_cuts(found_scores(task), task.counted) if score is None else np.array([score])
    right, wrong, _ = count(task, cuts)
    points = [
        OperatingPoint(float(cut), int(tp), int(fp), task.counted, frames)
        for cut, tp, fp in zip(cuts, right, wrong, strict=True)
    ]
    return max(points, key=lambda point: point.f1, default=None)
