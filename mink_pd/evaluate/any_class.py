"""Scores for any classes in the LiDAR frame, without a camera and its levels of difficulty.

Average precision by 3D and bird's-eye-view overlap, over all points of the curve and over KITTI's 40 recall points;
average precision by distance of centres as in nuScenes; all of these also per range and per number of points in the
object; the operating point; and the heading error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mink_pd.boxes.geometry import wrap_angle
from mink_pd.errors import DataError
from mink_pd.evaluate.best_first import (
    PossibleMatches,
    Ranking,
    all_point_ap,
    best_first,
    match_best_first,
    near_pairs,
    nuscenes_ap,
)
from mink_pd.evaluate.candidates import Candidates
from mink_pd.evaluate.curves import OperatingPoint, curves
from mink_pd.evaluate.matching import Task
from mink_pd.evaluate.overlaps import OVERLAPS, OVERLAPS_IN_SPACE, Pairs, pair_boxes
from mink_pd.evaluate.rules import COUNTED, IGNORED, VALID

DISTANCES = (0.5, 1.0, 2.0, 4.0)  # [m], as in nuScenes
RANGES = {"0-30m": (0.0, 30.0), "30-50m": (30.0, 50.0), "over_50m": (50.0, np.inf)}  # lower and upper limit [m]
POINTS = {"1-5_points": (0, 5), "6-20_points": (6, 20), "over_20_points": (21, np.inf)}  # smallest and largest number

OPERATING = ("score", "precision", "recall", "f1", "false_positives_per_frame")  # figures of an operating point


@dataclass
class CloudFrame:
    """A frame's B labels and D detections in the LiDAR frame."""

    boxes: np.ndarray  # (B, 7) labels
    names: np.ndarray  # (B,) their classes
    points: np.ndarray  # (B,) int, number of points inside each
    counted: np.ndarray  # (B,) bool; a label that is not counted cannot be missed, and its detection is not judged
    found: np.ndarray  # (D, 7) detections
    found_names: np.ndarray  # (D,) their classes
    scores: np.ndarray  # (D,)
    found_points: np.ndarray  # (D,) int, number of points inside each
    to_lidar: np.ndarray | None = None  # as in Frame


@dataclass
class _Rows:
    """The G labels and D detections of one class in all F frames."""

    label_first: np.ndarray  # (F + 1,) first label of each frame
    detection_first: np.ndarray  # (F + 1,) first detection of each frame
    boxes: np.ndarray  # (G, 7); this and the next ones as in CloudFrame
    points: np.ndarray  # (G,)
    counted: np.ndarray  # (G,)
    found: np.ndarray  # (D, 7)
    scores: np.ndarray  # (D,)
    found_points: np.ndarray  # (D,)
    order: np.ndarray  # (D,) detections by falling score


@dataclass
class ClassScores:
    """The figures of one class."""

    objects: int  # number of counted labels
    precision: dict[str, float | None]  # average precision [%] by name; None without a counted label
    point: OperatingPoint | None  # the one of the highest F1 by 3D overlap; None if nothing is found
    heading_error: float | None  # mean over the true positives at that point [degrees], 0 to 180

    def figures(self) -> dict[str, float]:
        """All figures that have a value, by name."""
        point = {name: getattr(self.point, name) for name in OPERATING} if self.point is not None else {}
        every = {**self.precision, **point, "heading_error": self.heading_error}
        return {name: float(value) for name, value in every.items() if value is not None}


Result = dict[str, ClassScores]


def figure_names() -> list[str]:
    """The names of the figures that a class can have."""
    parts = ["", *(f"/{part}" for part in (*RANGES, *POINTS))]
    names = [f"{kind}{part}" for kind in (*OVERLAPS_IN_SPACE, "distance") for part in parts]
    names += [f"{kind}/R40" for kind in OVERLAPS_IN_SPACE] + [f"distance/{limit:g}m" for limit in DISTANCES]
    return [*names, *OPERATING, "heading_error"]


def evaluate_clouds(frames: Mapping[str, CloudFrame], min_iou: Mapping[str, float]) -> Result:
    """Scores of the classes in ``min_iou``.

    min_iou: class -> IoU that a match must exceed.

    The figures of a class are: bev and 3d, average precision over all points of the curve; bev/R40 and 3d/R40, over 40
    recall points by KITTI's procedure; distance/0.5m and so on, nuScenes' average precision; distance, their mean.
    bev, 3d and distance are also given per range (3d/0-30m) and per number of points in the label (3d/1-5_points). A
    false positive belongs to the part that contains it; one without any point belongs to the part with fewest points.
    Raises DataError if there is no frame.
    """
    if not frames:
        raise DataError("no frame to evaluate; choose a split with labelled frames")
    return {name: _of_class(_rows(list(frames.values()), name), iou) for name, iou in min_iou.items()}


def mean_figures(result: Result) -> dict[str, float]:
    """Means over the classes: mAP_bev, mAP_3d, mAP_distance, and KITTI's mAP_bev_R40 and mAP_3d_R40.

    A class without a figure does not enter its mean. A mean without any class is omitted.
    """
    means = {}
    for figure in ("bev", "3d", "distance", "bev/R40", "3d/R40"):
        known = [value for one in result.values() if (value := one.precision[figure]) is not None]
        if known:
            means[f"mAP_{figure.replace('/', '_')}"] = sum(known) / len(known)
    return means


def _rows(frames: Sequence[CloudFrame], name: str) -> _Rows:
    """The rows of class ``name``."""
    labels = [frame.names == name for frame in frames]
    detections = [frame.found_names == name for frame in frames]

    def join(attribute: str, chosen: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([getattr(frame, attribute)[rows] for frame, rows in zip(frames, chosen, strict=True)])

    scores = join("scores", detections).astype(np.float64)
    return _Rows(
        label_first=np.cumsum([0, *(rows.sum() for rows in labels)]),
        detection_first=np.cumsum([0, *(rows.sum() for rows in detections)]),
        boxes=join("boxes", labels).astype(np.float64),
        points=join("points", labels),
        counted=join("counted", labels).astype(bool),
        found=join("found", detections).astype(np.float64),
        scores=scores,
        found_points=join("found_points", detections),
        order=best_first(scores),
    )


def _of_class(rows: _Rows, iou: float) -> ClassScores:
    pairs = pair_boxes(rows.boxes, rows.found, rows.label_first, rows.detection_first)
    precision: dict[str, float | None] = {}
    matches = {}
    for kind in OVERLAPS_IN_SPACE:
        overlap = pairs.overlap[OVERLAPS.index(kind)]
        fits = overlap > iou
        chosen = PossibleMatches(pairs.label[fits], pairs.detection[fits], overlap[fits])
        matches[kind] = match_best_first(chosen, rows.order, rows.counted)
        precision |= {name: all_point_ap(ranking) for name, ranking in _parts(rows, matches[kind], kind)}
        precision[f"{kind}/R40"] = _kitti_ap(rows, pairs, kind, iou)
    precision |= _by_distance(rows)
    ranking = _ranking(rows, matches["3d"])
    point = _best_point(ranking, len(rows.label_first) - 1)
    error = None if point is None else _heading_error(rows, matches["3d"], point.score)
    return ClassScores(ranking.counted, precision, point, error)


def _by_distance(rows: _Rows) -> dict[str, float | None]:
    """nuScenes' average precision at each distance and its mean over the distances, for all labels and per part."""
    label, detection, apart = near_pairs(
        rows.label_first, rows.detection_first, rows.boxes[:, :2], rows.found[:, :2], max(DISTANCES)
    )
    at: list[dict[str, float | None]] = []
    for limit in DISTANCES:
        fits = apart < limit
        match = match_best_first(PossibleMatches(label[fits], detection[fits], -apart[fits]), rows.order, rows.counted)
        at.append({name: nuscenes_ap(ranking) for name, ranking in _parts(rows, match, "distance")})
    result: dict[str, float | None] = {}
    for name in at[0]:
        known = [value for one in at if (value := one[name]) is not None]
        result[name] = sum(known) / len(known) if known else None
    return result | {f"distance/{limit:g}m": one["distance"] for limit, one in zip(DISTANCES, at, strict=True)}


def _parts(rows: _Rows, match: np.ndarray, kind: str) -> list[tuple[str, Ranking]]:
    """Rankings by name: of all detections, per range, and per number of points."""
    away, found_away = np.hypot(*rows.boxes[:, :2].T), np.hypot(*rows.found[:, :2].T)  # (G,), (D,) [m]
    result = [(kind, _ranking(rows, match))]
    for name, (low, high) in RANGES.items():
        inside, own = (low <= away) & (away < high), (low <= found_away) & (found_away < high)
        result.append((f"{kind}/{name}", _ranking(rows, match, inside, own)))
    for name, (least, most) in POINTS.items():
        inside = (least <= rows.points) & (rows.points <= most)
        own = (least <= rows.found_points) & (rows.found_points <= most)
        result.append((f"{kind}/{name}", _ranking(rows, match, inside, own)))
    return result


def _ranking(
    rows: _Rows, match: np.ndarray, inside: np.ndarray | bool = True, own: np.ndarray | bool = True
) -> Ranking:
    """The ranking of a part: true positives of counted labels in the mask ``inside`` (G,), and false positives in the
    mask ``own`` (D,)."""
    counted = rows.counted & inside  # (G,)
    hit = match >= 0
    right = np.zeros(len(match), dtype=bool)
    right[hit] = counted[match[hit]]
    order = rows.order[(right | (~hit & own))[rows.order]]
    return Ranking(rows.scores[order], right[order], int(counted.sum()))


def _kitti_ap(rows: _Rows, pairs: Pairs, kind: str, iou: float) -> float | None:
    """Average precision over 40 recall points by the procedure of KITTI's evaluator."""
    overlap = pairs.overlap[OVERLAPS.index(kind)]
    fits = overlap > iou
    first = np.searchsorted(pairs.label[fits], np.arange(len(rows.boxes) + 1))
    task = Task(
        candidates=Candidates(first, pairs.detection[fits], overlap[fits]),
        label_role=np.where(rows.counted, COUNTED, IGNORED).astype(np.int8),
        detection_role=np.full(len(rows.found), VALID, dtype=np.int8),
        score=rows.scores,
        excused=np.zeros(len(rows.found), dtype=bool),
        similarity=np.zeros(int(fits.sum())),
    )
    return curves(task)[0]["R40"] if task.counted else None


def _best_point(ranking: Ranking, frames: int) -> OperatingPoint | None:
    """The score cut of the highest F1, the highest cut among equals; None if nothing is found."""
    right, total, scores = ranking.curve()
    if not ranking.counted or not right.any():
        return None
    best = int(np.argmax(2 * right / (total + ranking.counted)))
    true, false = int(right[best]), int(total[best] - right[best])
    return OperatingPoint(float(scores[best]), true, false, ranking.counted, frames)


def _heading_error(rows: _Rows, match: np.ndarray, score: float) -> float:
    """Mean heading difference [degrees] between counted labels and their matches that score at least ``score``."""
    chosen = np.flatnonzero((match >= 0) & (rows.scores >= score))
    chosen = chosen[rows.counted[match[chosen]]]
    return float(np.degrees(np.abs(wrap_angle(rows.found[chosen, 6] - rows.boxes[match[chosen], 6]))).mean())


def match_frame(frame: CloudFrame, min_iou: Mapping[str, float]) -> np.ndarray:
    """The label that each detection of a frame matches by 3D overlap, int64 (D,); -1: none."""
    pairs = pair_boxes(frame.boxes, frame.found, np.array([0, len(frame.boxes)]), np.array([0, len(frame.found)]))
    overlap = pairs.overlap[OVERLAPS.index("3d")]
    names = frame.names[pairs.label]
    least = np.array([min_iou.get(str(name), np.inf) for name in names])
    fits = (overlap > least) & (names == frame.found_names[pairs.detection])
    chosen = PossibleMatches(pairs.label[fits], pairs.detection[fits], overlap[fits])
    return match_best_first(chosen, best_first(frame.scores), frame.counted)
