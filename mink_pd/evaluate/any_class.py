"""Scores for any classes in the LiDAR frame, without a camera and its levels of difficulty.

Average precision by overlap in space and from above, by KITTI's 40 recall points and by all points of the curve; by
the distance of centres as in nuScenes; by range and by points in the object; the operating point; the heading error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mink_pd.boxes.geometry import wrap_angle
from mink_pd.errors import DataError
from mink_pd.evaluate.best_first import (
    Fits,
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

DISTANCES = (0.5, 1.0, 2.0, 4.0)  # [m], nuScenes'
RANGES = {"0-30m": (0.0, 30.0), "30-50m": (30.0, 50.0), "over_50m": (50.0, np.inf)}  # from, to [m]
POINTS = {"1-5_points": (0, 5), "6-20_points": (6, 20), "over_20_points": (21, np.inf)}  # least, most

OPERATING = ("score", "precision", "recall", "f1", "false_positives_per_frame")  # figures of an operating point


@dataclass
class CloudFrame:
    """A frame's B labels and D detections, LiDAR frame.

    boxes: (B, 7). names: (B,). points: (B,) int, returns inside the box. counted: (B,) bool; a label that does not
    count is neither missed nor makes its detection wrong. found: (D, 7). found_names: (D,). scores: (D,).
    found_points: (D,) int, returns inside the detection.
    """

    boxes: np.ndarray
    names: np.ndarray
    points: np.ndarray
    counted: np.ndarray
    found: np.ndarray
    found_names: np.ndarray
    scores: np.ndarray
    found_points: np.ndarray


@dataclass
class _Rows:
    """The labels (G) and detections (D) of one class in all frames.

    label_first, detection_first: (F + 1,), where each frame's begin. turns: (D,), detections by falling score. The
    others are those of :class:`CloudFrame`.
    """

    label_first: np.ndarray
    detection_first: np.ndarray
    boxes: np.ndarray
    points: np.ndarray
    counted: np.ndarray
    found: np.ndarray
    scores: np.ndarray
    found_points: np.ndarray
    turns: np.ndarray


@dataclass
class ClassScores:
    """The figures of one class.

    objects: number of labels to be found.
    precision: average precision [%] by name; None where no label is to be found.
    point: of the highest F1 by overlap in space; None where nothing is found.
    heading_error: mean of the true positives there [degrees], 0 to 180.
    """

    objects: int
    precision: dict[str, float | None]
    point: OperatingPoint | None
    heading_error: float | None

    def figures(self) -> dict[str, float]:
        """All figures that have a value, by name."""
        point = {name: getattr(self.point, name) for name in OPERATING} if self.point is not None else {}
        every = {**self.precision, **point, "heading_error": self.heading_error}
        return {name: float(value) for name, value in every.items() if value is not None}


Result = dict[str, ClassScores]


def figure_names() -> list[str]:
    """The names of a class's figures."""
    parts = ["", *(f"/{part}" for part in (*RANGES, *POINTS))]
    names = [f"{kind}{part}" for kind in (*OVERLAPS_IN_SPACE, "distance") for part in parts]
    names += [f"{kind}/R40" for kind in OVERLAPS_IN_SPACE] + [f"distance/{limit:g}m" for limit in DISTANCES]
    return [*names, *OPERATING, "heading_error"]


def evaluate_clouds(frames: Mapping[str, CloudFrame], min_iou: Mapping[str, float]) -> Result:
    """Scores of the classes of ``min_iou``, in which an overlap must exceed the number to be a match.

    bev, 3d: average precision over all points of the curve; bev/R40, 3d/R40: over KITTI's 40 recall points, by KITTI's
    procedure. distance/0.5m and so on: nuScenes' average precision; distance: their mean. Each of bev, 3d and
    distance also for the labels in a part of the range (3d/0-30m) or with so many points (3d/1-5_points); a false
    positive belongs to the part in which it lies itself, and without any point to that of the fewest.
    Raises DataError for no frame.
    """
    if not frames:
        raise DataError("no frame to evaluate; choose a split that has labelled frames")
    return {name: _of_class(_rows(list(frames.values()), name), iou) for name, iou in min_iou.items()}


def mean_figures(result: Result) -> dict[str, float]:
    """Means over the classes: mAP_bev, mAP_3d, mAP_distance and KITTI's mAP_bev_R40, mAP_3d_R40.

    Classes without a figure are left out, and means that no class has.
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
        turns=best_first(scores),
    )


def _of_class(rows: _Rows, iou: float) -> ClassScores:
    pairs = pair_boxes(rows.boxes, rows.found, rows.label_first, rows.detection_first)
    precision: dict[str, float | None] = {}
    matches = {}
    for kind in OVERLAPS_IN_SPACE:
        overlap = pairs.overlap[OVERLAPS.index(kind)]
        fits = overlap > iou
        chosen = Fits(pairs.label[fits], pairs.detection[fits], overlap[fits])
        matches[kind] = match_best_first(chosen, rows.turns, rows.counted)
        precision |= {name: all_point_ap(ranking) for name, ranking in _parts(rows, matches[kind], kind)}
        precision[f"{kind}/R40"] = _kitti_ap(rows, pairs, kind, iou)
    precision |= _by_distance(rows)
    ranking = _ranking(rows, matches["3d"])
    point = _best_point(ranking, len(rows.label_first) - 1)
    error = None if point is None else _heading_error(rows, matches["3d"], point.score)
    return ClassScores(ranking.counted, precision, point, error)


def _by_distance(rows: _Rows) -> dict[str, float | None]:
    """nuScenes' average precision at each distance, and the mean over the distances, of all and in parts."""
    label, detection, apart = near_pairs(
        rows.label_first, rows.detection_first, rows.boxes[:, :2], rows.found[:, :2], max(DISTANCES)
    )
    at: list[dict[str, float | None]] = []
    for limit in DISTANCES:
        fits = apart < limit
        match = match_best_first(Fits(label[fits], detection[fits], -apart[fits]), rows.turns, rows.counted)
        at.append({name: nuscenes_ap(ranking) for name, ranking in _parts(rows, match, "distance")})
    result: dict[str, float | None] = {}
    for name in at[0]:
        known = [value for one in at if (value := one[name]) is not None]
        result[name] = sum(known) / len(known) if known else None
    return result | {f"distance/{limit:g}m": one["distance"] for limit, one in zip(DISTANCES, at, strict=True)}


def _parts(rows: _Rows, match: np.ndarray, kind: str) -> list[tuple[str, Ranking]]:
    """The ranking of all detections, and those within each part of range and number of points, by name."""
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
    """The detections that found a counted label ``inside`` (G,), or that no label fits and are in ``own`` (D,)."""
    counted = rows.counted & inside  # (G,)
    hit = match >= 0
    right = np.zeros(len(match), dtype=bool)
    right[hit] = counted[match[hit]]
    order = rows.turns[(right | (~hit & own))[rows.turns]]
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
    """The score cut of the highest F1, of equal ones the highest; None where nothing is found."""
    right, total, scores = ranking.curve()
    if not ranking.counted or not right.any():
        return None
    best = int(np.argmax(2 * right / (total + ranking.counted)))
    true, false = int(right[best]), int(total[best] - right[best])
    return OperatingPoint(float(scores[best]), true, false, ranking.counted, frames)


def _heading_error(rows: _Rows, match: np.ndarray, score: float) -> float:
    """Mean difference of heading [degrees] of the detections from ``score`` on and the counted labels they take."""
    chosen = np.flatnonzero((match >= 0) & (rows.scores >= score))
    chosen = chosen[rows.counted[match[chosen]]]
    return float(np.degrees(np.abs(wrap_angle(rows.found[chosen, 6] - rows.boxes[match[chosen], 6]))).mean())


def match_frame(frame: CloudFrame, min_iou: Mapping[str, float]) -> np.ndarray:
    """The label that each detection of a frame takes by overlap in space, int64 (D,), -1 for none."""
    pairs = pair_boxes(frame.boxes, frame.found, np.array([0, len(frame.boxes)]), np.array([0, len(frame.found)]))
    overlap = pairs.overlap[OVERLAPS.index("3d")]
    names = frame.names[pairs.label]
    least = np.array([min_iou.get(str(name), np.inf) for name in names])
    fits = (overlap > least) & (names == frame.found_names[pairs.detection])
    chosen = Fits(pairs.label[fits], pairs.detection[fits], overlap[fits])
    return match_best_first(chosen, best_first(frame.scores), frame.counted)
