"""Greedy matching in order of score, as in nuScenes and most benchmarks except KITTI, and precision-recall curves."""

from dataclasses import dataclass

import numpy as np

from mink_pd.jit import njit

NUSCENES_RECALLS = np.linspace(0, 1, 101)
NUSCENES_MIN = 0.1  # nuScenes disregards recall and precision below this value


@dataclass
class PossibleMatches:
    """N pairs of a label and a detection that may match."""

    label: np.ndarray  # (N,) int64, row of the label
    detection: np.ndarray  # (N,) int64, row of the detection
    preference: np.ndarray  # (N,) float64; a detection takes the free label of highest preference


def best_first(scores: np.ndarray) -> np.ndarray:
    """Rows int64 (D,) by falling score. Equal scores are in reverse order of rows, as in nuScenes' devkit."""
    return np.argsort(scores, kind="stable")[::-1]


def match_best_first(fits: PossibleMatches, order: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The label that each detection takes, int64 (D,); -1: none. A label is taken at most once.

    order: (D,) rows of detections in the order in which they choose, as :func:`best_first` returns it.
    counted: (G,) bool; a detection takes a label that is not counted only if no counted one is free.
    """
    by_detection = np.argsort(fits.detection, kind="stable")
    first = np.searchsorted(fits.detection[by_detection], np.arange(len(order) + 1))
    return _match(order, first, fits.label[by_detection], fits.preference[by_detection], counted)


@njit()
def _match(
    order: np.ndarray, first: np.ndarray, label: np.ndarray, preference: np.ndarray, counted: np.ndarray
) -> np.ndarray:
    taken = np.zeros(len(counted), dtype=np.bool_)
    match = np.full(len(order), -1, dtype=np.int64)
    for d in order:
        best = -1
        for k in range(first[d], first[d + 1]):
            g = label[k]
            if taken[g]:
                continue
            if best >= 0:
                other = label[best]
                better = counted[g] > counted[other] or (
                    counted[g] == counted[other] and preference[k] > preference[best]
                )
                if not better:
                    continue
            best = k
        if best >= 0:
            match[d] = label[best]
            taken[label[best]] = True
    return match


@njit()
def near_pairs(
    label_first: np.ndarray, detection_first: np.ndarray, labels: np.ndarray, detections: np.ndarray, limit: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of a label and a detection of the same frame whose centres are less than ``limit`` [m] apart in x and y.

    label_first, detection_first: (F + 1,) int64, first row of each frame.
    labels: (G, 2) float64, x, y [m].
    detections: (D, 2) float64, x, y [m].
    Returns rows of labels and of detections, int64 (N,), and distances [m], float64 (N,).
    """
    room, found = 1024, 0
    label, detection, distance = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room)
    for frame in range(len(label_first) - 1):
        for g in range(label_first[frame], label_first[frame + 1]):
            for d in range(detection_first[frame], detection_first[frame + 1]):
                x, y = detections[d, 0] - labels[g, 0], detections[d, 1] - labels[g, 1]
                apart = np.sqrt(x * x + y * y)
                if not apart < limit:
                    continue
                if found == room:
                    room *= 2
                    label = np.concatenate((label, np.empty_like(label)))
                    detection = np.concatenate((detection, np.empty_like(detection)))
                    distance = np.concatenate((distance, np.empty_like(distance)))
                label[found], detection[found], distance[found] = g, d, apart
                found += 1
    return label[:found], detection[:found], distance[:found]


@dataclass
class Ranking:
    """N judged detections by falling score."""

    scores: np.ndarray  # (N,)
    right: np.ndarray  # (N,) bool: true positive, else false positive
    counted: int  # number of counted labels

    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """At each score cut the number of true positives, the number of detections, and the score: float64 (K,) each.

        Detections of equal score belong to the same cut, so that their order does not matter.
        """
        last = np.append(self.scores[1:] != self.scores[:-1], True)[: len(self.scores)]
        return np.cumsum(self.right)[last].astype(float), np.flatnonzero(last) + 1.0, self.scores[last]


def all_point_ap(ranking: Ranking) -> float | None:
    """Area below the precision-recall curve [%], with each precision replaced by the maximum at this or higher recall.

    None without a counted label.
    """
    if not ranking.counted:
        return None
    right, total, _ = ranking.curve()
    best = np.maximum.accumulate((right / total)[::-1])[::-1]
    return float(100 * (np.diff(right, prepend=0) * best).sum() / ranking.counted)


def nuscenes_ap(ranking: Ranking) -> float | None:
    """nuScenes' average precision [%] (Caesar et al., CVPR 2020, section 3.1).

    It is the mean of the precision above 0.1 over recall above 0.1, in steps of 0.01, and not made monotone. None
    without a counted label.
    """
    if not ranking.counted:
        return None
    right = np.cumsum(ranking.right).astype(float)
    if not right.any():
        return 0.0
    precision = right / np.arange(1, len(right) + 1)
    sampled = np.interp(NUSCENES_RECALLS, right / ranking.counted, precision, right=0)
    above = np.maximum(sampled[round(100 * NUSCENES_MIN) + 1 :] - NUSCENES_MIN, 0)
    return float(100 * above.mean() / (1 - NUSCENES_MIN))
