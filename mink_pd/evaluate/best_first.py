"""Matching in which the detection of highest score chooses first, as nuScenes and most benchmarks but KITTI do it, and
the curves of precision and recall that follow."""

from dataclasses import dataclass

import numpy as np

from mink_pd.jit import njit

NUSCENES_RECALLS = np.linspace(0, 1, 101)
NUSCENES_MIN = 0.1  # recall and precision below it count for nothing


@dataclass
class Fits:
    """The N pairs of a label and a detection that may match.

    label, detection: (N,) int64, rows. worth: (N,) float64, of several labels a detection takes that of highest worth.
    """

    label: np.ndarray
    detection: np.ndarray
    worth: np.ndarray


def best_first(scores: np.ndarray) -> np.ndarray:
    """Rows by falling score; of equal scores the last row first, as nuScenes' devkit has it: int64 (D,)."""
    return np.argsort(scores, kind="stable")[::-1]


def match_best_first(fits: Fits, turns: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """The label that each detection takes, -1 for none: int64 (D,).

    turns: (D,), rows of detections in the order in which they choose, as :func:`best_first` gives it. counted: (G,)
    bool; a label that does not count is taken only where no other one fits. A label is taken once.
    """
    order = np.argsort(fits.detection, kind="stable")
    first = np.searchsorted(fits.detection[order], np.arange(len(turns) + 1))
    return _match(turns, first, fits.label[order], fits.worth[order], counted)


@njit()
def _match(
    turns: np.ndarray, first: np.ndarray, label: np.ndarray, worth: np.ndarray, counted: np.ndarray
) -> np.ndarray:
    taken = np.zeros(len(counted), dtype=np.bool_)
    match = np.full(len(turns), -1, dtype=np.int64)
    for d in turns:
        best = -1
        for k in range(first[d], first[d + 1]):
            g = label[k]
            if taken[g]:
                continue
            if best >= 0:
                other = label[best]
                better = counted[g] > counted[other] or (counted[g] == counted[other] and worth[k] > worth[best])
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
    """Pairs of a label and a detection of the same frame whose centres are less than ``limit`` [m] apart from above.

    label_first, detection_first: (F + 1,) int64, where the rows of each frame begin. labels (G, 2), detections (D, 2):
    x, y [m], float64. Returns rows of labels and of detections, int64 (N,), and distances [m], float64 (N,).
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
    """The N detections that are right or wrong, by falling score.

    scores: (N,). right: (N,) bool, true or false positive. counted: number of labels to be found.
    """

    scores: np.ndarray
    right: np.ndarray
    counted: int

    def curve(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number of true positives, of all detections, and the score, at each score cut: float64 (K,) each.

        Detections of equal score are cut together, so that their order does not matter.
        """
        last = np.append(self.scores[1:] != self.scores[:-1], True)[: len(self.scores)]
        return np.cumsum(self.right)[last].astype(float), np.flatnonzero(last) + 1.0, self.scores[last]


def all_point_ap(ranking: Ranking) -> float | None:
    """Area below the curve of precision over recall [%], a point taken as the maximum of itself and later ones.

    None where no label is to be found.
    """
    if not ranking.counted:
        return None
    right, total, _ = ranking.curve()
    best = np.maximum.accumulate((right / total)[::-1])[::-1]
    return float(100 * (np.diff(right, prepend=0) * best).sum() / ranking.counted)


def nuscenes_ap(ranking: Ranking) -> float | None:
    """nuScenes' average precision [%] (Caesar et al., CVPR 2020, section 3.1): the mean of the precision above 0.1 at
    101 recalls from 0.1 on, not made monotone. None where no label is to be found."""
    if not ranking.counted:
        return None
    right = np.cumsum(ranking.right).astype(float)
    if not right.any():
        return 0.0
    precision = right / np.arange(1, len(right) + 1)
    sampled = np.interp(NUSCENES_RECALLS, right / ranking.counted, precision, right=0)
    above = np.maximum(sampled[round(100 * NUSCENES_MIN) + 1 :] - NUSCENES_MIN, 0)
    return float(100 * above.mean() / (1 - NUSCENES_MIN))
