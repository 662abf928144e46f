"""Scores for any classes: equal to KITTI's evaluator and nuScenes' devkit where those apply, else to plain loops over
shapely's polygons."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import Polygon
from tiny_kitti import CALIBRATION

from mink_pd.boxes.camera import camera_to_lidar
from mink_pd.boxes.geometry import bev_corners
from mink_pd.data.objects import Objects
from mink_pd.errors import DataError
from mink_pd.evaluate.any_class import CloudFrame, evaluate_clouds, figure_names, mean_figures
from mink_pd.evaluate.kitti import evaluate_kitti, load_folders

Frames = dict[str, CloudFrame]
CLASSES = ("forklift", "pallet")


def random_boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    low, high = [-60, -20, -1, 3.5, 1.5, 1.4, -np.pi], [60, 20, -0.8, 4.5, 1.8, 1.6, np.pi]
    return rng.uniform(low, high, (count, 7))


def random_frames(count: int, seed: int, points: bool = True) -> Frames:
    """Crowded labels of two classes; detections are noisy copies, some doubled, turned or of the other class, and
    strays. Scores have one decimal, so many are equal."""
    rng = np.random.default_rng(seed)
    frames: Frames = {}
    for number in range(count):
        n = int(rng.integers(0, 8))
        boxes = random_boxes(n, rng)
        boxes[1::2, :2] = boxes[: n - n // 2, :2][: len(boxes[1::2])] + rng.normal(0, 1.5, (len(boxes[1::2]), 2))
        names = rng.choice(CLASSES, n, p=[0.8, 0.2])
        source = rng.permutation(np.repeat(np.arange(n), rng.choice([0, 1, 1, 2], n)))
        copies = boxes[source]
        noise = np.array([0.3, 0.3, 0.05, 0.2, 0.1, 0.1, 0.1]) * rng.choice([0.3, 1, 3], (len(copies), 1))
        copies = copies + rng.normal(0, 1, copies.shape) * noise
        copies[:, 6] += rng.choice([0, 0, np.pi], len(copies))
        found = np.concatenate([copies, random_boxes(int(rng.integers(0, 4)), rng)])
        found_names = rng.choice(CLASSES, len(found), p=[0.8, 0.2])
        found_names[: len(source)] = np.where(rng.random(len(source)) < 0.9, names[source], found_names[: len(source)])
        frames[str(number)] = CloudFrame(
            boxes=boxes,
            names=names,
            points=rng.choice([0, 1, 5, 6, 20, 21, 500], n) if points else np.full(n, 9),
            counted=rng.random(n) < 0.8 if points else np.ones(n, bool),
            found=found,
            found_names=found_names,
            scores=np.round(rng.random(len(found)), 1),
            found_points=rng.choice([0, 1, 5, 6, 20, 21, 500], len(found)),
        )
    return frames


def iou(a: np.ndarray, b: np.ndarray, kind: str) -> float:
    p, q = (Polygon(bev_corners(box[None])[0]) for box in (a, b))
    shared, sizes = p.intersection(q).area, (p.area, q.area)
    if kind == "3d":
        shared *= max(0, min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2))
        sizes = (p.area * a[5], q.area * b[5])
    return shared / (sum(sizes) - shared)


class Plain:
    """One class by plain loops: which label each detection takes, best score first."""

    def __init__(self, frames: Frames, name: str, kind: str, threshold: float) -> None:
        detections = [(id, d) for id, f in frames.items() for d in np.flatnonzero(f.found_names == name)]
        place = {key: number for number, key in enumerate(detections)}
        detections.sort(key=lambda key: (-frames[key[0]].scores[key[1]], -place[key]))
        self.frames, self.matches = frames, {}
        self.labels = [(id, g) for id, f in frames.items() for g in np.flatnonzero(f.names == name)]
        taken: set = set()
        for id, d in detections:
            frame, best = frames[id], (0.0, 0.0)
            self.matches[id, d] = None
            for g in np.flatnonzero(frame.names == name):
                overlap = iou(frame.boxes[g], frame.found[d], kind)
                if overlap > threshold and (id, g) not in taken and (float(frame.counted[g]), overlap) > best:
                    best = (float(frame.counted[g]), overlap)
                    self.matches[id, d] = g
            if self.matches[id, d] is not None:
                taken.add((id, self.matches[id, d]))

    def ap(self, label: Callable = lambda f, g: True, detection: Callable = lambda f, d: True) -> float | None:
        """The area below the curve, over labels and false positives that the tests let through."""
        counted = sum(self.frames[id].counted[g] and label(self.frames[id], g) for id, g in self.labels)
        if not counted:
            return None
        rows = []  # score, true positives and false positives up to it
        right = wrong = 0
        for (id, d), g in self.matches.items():
            frame = self.frames[id]
            if g is None:
                wrong += bool(detection(frame, d))
            else:
                right += bool(frame.counted[g] and label(frame, g))
            rows.append((frame.scores[d], right, wrong))
        ends = [row for row, after in zip(rows, [*rows[1:], (None,)], strict=True) if row[0] != after[0]]
        area, before = 0.0, 0
        for number, (_, right, _) in enumerate(ends):
            if right > before:
                area += (right - before) * max(r / (r + w) for _, r, w in ends[number:] if r + w)
                before = right
        return 100 * area / counted


@pytest.mark.parametrize("kind", ["bev", "3d"])
def test_all_point_ap_equals_plain_loops(kind: str) -> None:
    frames = random_frames(60, seed=0)
    result = evaluate_clouds(frames, {"forklift": 0.5, "pallet": 0.3})
    for name, threshold in (("forklift", 0.5), ("pallet", 0.3)):
        plain, found = Plain(frames, name, kind, threshold), result[name].precision
        assert found[kind] == pytest.approx(plain.ap(), abs=1e-9)
        assert 5 < plain.ap() < 95
        for part, low, high in (("0-30m", 0, 30), ("30-50m", 30, 50), ("over_50m", 50, 1e9)):
            expected = plain.ap(
                lambda f, g, low=low, high=high: low <= np.hypot(*f.boxes[g, :2]) < high,
                lambda f, d, low=low, high=high: low <= np.hypot(*f.found[d, :2]) < high,
            )
            assert found[f"{kind}/{part}"] == pytest.approx(expected, abs=1e-9)
        for part, low, high in (("1-5_points", 0, 5), ("6-20_points", 6, 20), ("over_20_points", 21, 1e9)):
            expected = plain.ap(
                lambda f, g, low=low, high=high: low <= f.points[g] <= high,
                lambda f, d, low=low, high=high: low <= f.found_points[d] <= high,
            )
            assert found[f"{kind}/{part}"] == pytest.approx(expected, abs=1e-9)


def test_the_operating_point_equals_plain_loops() -> None:
    frames = random_frames(60, seed=1)
    point = evaluate_clouds(frames, {"forklift": 0.4})["forklift"]
    plain = Plain(frames, "forklift", "3d", 0.4)
    counted = sum(frames[id].counted[g] for id, g in plain.labels)
    best = (0.0, 0.0, 0, 0, 0.0)
    for score in np.unique([frames[id].scores[d] for id, d in plain.matches]):
        kept = {(id, d): g for (id, d), g in plain.matches.items() if frames[id].scores[d] >= score}
        hits = [(id, d, g) for (id, d), g in kept.items() if g is not None and frames[id].counted[g]]
        wrong = sum(g is None for g in kept.values())
        turns = [frames[id].found[d, 6] - frames[id].boxes[g, 6] for id, d, g in hits]
        error = np.degrees(np.abs(np.angle(np.exp(1j * np.array(turns)))).mean())
        best = max(best, (2 * len(hits) / (len(hits) + wrong + counted), score, len(hits), wrong, float(error)))
    figures = point.figures()
    assert figures["f1"] == pytest.approx(best[0])
    assert figures["score"] == best[1]
    assert figures["recall"] == pytest.approx(best[2] / counted)
    assert figures["precision"] == pytest.approx(best[2] / (best[2] + best[3]))
    assert figures["false_positives_per_frame"] == best[3] / 60
    assert figures["heading_error"] == pytest.approx(best[4])
    assert 10 < best[4] < 170


@pytest.mark.parametrize("distance", [0.5, 1, 2, 4])
def test_the_distance_variant_equals_the_devkit(distance: float) -> None:
    algo = pytest.importorskip("nuscenes.eval.detection.algo")
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.common.utils import center_distance
    from nuscenes.eval.detection.data_classes import DetectionBox

    frames = random_frames(60, seed=2, points=False)
    kinds = dict(zip(CLASSES, ("car", "truck"), strict=True))

    def sample(token: str, boxes: np.ndarray, names: np.ndarray, scores: np.ndarray) -> list:
        return [
            DetectionBox(
                sample_token=token, translation=tuple(box[:3]), size=(box[4], box[3], box[5]), rotation=(1, 0, 0, 0),
                velocity=(0, 0), detection_name=kinds[name], detection_score=float(score),
            )
            for box, name, score in zip(boxes, names, scores, strict=True)
        ]  # fmt: skip

    truth, found = EvalBoxes(), EvalBoxes()
    for id, frame in frames.items():
        truth.add_boxes(id, sample(id, frame.boxes, frame.names, np.full(len(frame.boxes), -1.0)))
        found.add_boxes(id, sample(id, frame.found, frame.found_names, frame.scores))
    result = evaluate_clouds(frames, dict.fromkeys(CLASSES, 0.5))
    for name, kind in kinds.items():
        data = algo.accumulate(truth, found, kind, center_distance, distance)
        expected = 100 * algo.calc_ap(data, 0.1, 0.1)
        assert result[name].precision[f"distance/{distance:g}m"] == pytest.approx(expected, abs=1e-9)
        assert expected > 5
    at = [result["forklift"].precision[f"distance/{limit}m"] for limit in ("0.5", "1", "2", "4")]
    assert result["forklift"].precision["distance"] == pytest.approx(np.mean(at))  # type: ignore[arg-type]


def as_cloud(labels: Objects, found: Objects) -> CloudFrame:
    def boxes(rows: Objects) -> np.ndarray:
        return camera_to_lidar(rows.location, rows.dimensions, rows.rotation_y, CALIBRATION.camera_from_lidar)

    assert found.score is not None
    return CloudFrame(
        boxes(labels), labels.names, np.ones(len(labels), int), np.ones(len(labels), bool),
        boxes(found), found.names, found.score, np.ones(len(found), int),
    )  # fmt: skip


@pytest.mark.parametrize("case", ["small", "large"])
def test_r40_equals_kitti(shared: Callable[[str], Path], case: str) -> None:
    folder = shared("kitti_eval_cases") / case
    labels, found = load_folders(folder / "label_2", folder / "detections")
    # Without rows that KITTI ignores: only labels that count, no detection that is too small.
    for id, rows in labels.items():
        high = rows.bbox[:, 3] - rows.bbox[:, 1] >= 25
        labels[id] = rows[(rows.names == "Car") & high & (rows.occluded <= 1) & (rows.truncated <= 0.3)]
    for id, rows in found.items():
        rows = rows[(rows.names == "Car") & (rows.bbox[:, 3] - rows.bbox[:, 1] >= 25)]
        found[id] = rows if rows.score is not None else replace(rows, score=np.zeros(0))
    official = evaluate_kitti(labels, found)["Car"]
    ours = evaluate_clouds({id: as_cloud(labels[id], found[id]) for id in labels}, {"Car": 0.7})["Car"].precision
    for kind in ("bev", "3d"):
        assert official[kind]["R40"][1] > 10  # type: ignore[operator]
        assert ours[f"{kind}/R40"] == pytest.approx(official[kind]["R40"][1], abs=0.01)
        assert ours[kind] == pytest.approx(official[kind]["R40"][1], abs=3)  # type: ignore[arg-type]


def one_frame(**changes: object) -> CloudFrame:
    box = np.array([[10.0, 0, -1, 4, 2, 1.5, 0]])
    names, one = np.array(["forklift"]), np.ones(1, int)
    frame = CloudFrame(box, names, one * 9, one > 0, box, names, np.ones(1), one * 9)
    return replace(frame, **changes)  # type: ignore[arg-type]


def test_a_perfect_detector_has_all() -> None:
    scores = evaluate_clouds({"a": one_frame()}, {"forklift": 0.5, "pallet": 0.5})
    figures = scores["forklift"].figures()
    assert set(figures) <= set(figure_names())
    for name in ("3d", "bev", "distance", "3d/0-30m", "3d/6-20_points"):
        assert figures[name] == pytest.approx(100)
    assert figures["3d/R40"] == 0  # one label makes one score cut, at recall 0: KITTI's quirk
    assert (figures["precision"], figures["recall"], figures["heading_error"]) == (1, 1, 0)
    assert "3d/over_50m" not in figures
    assert scores["pallet"].figures() == {}  # no label: no figure, and no part in the means
    assert mean_figures(scores)["mAP_3d"] == pytest.approx(100)
    assert mean_figures({"pallet": scores["pallet"]}) == {}


def test_labels_that_do_not_count_are_neither_missed_nor_wrong() -> None:
    ignored = one_frame(counted=np.zeros(1, bool))
    figures = evaluate_clouds({"a": one_frame(), "b": ignored}, {"forklift": 0.5})["forklift"].figures()
    assert (figures["3d"], figures["distance"], figures["false_positives_per_frame"]) == pytest.approx((100, 100, 0))
    assert evaluate_clouds({"b": ignored}, {"forklift": 0.5})["forklift"].figures() == {}


def test_nothing_found_is_zero_and_no_frame_an_error() -> None:
    none = np.zeros(0, int)
    nothing = one_frame(found=np.zeros((0, 7)), found_names=none.astype(str), scores=none, found_points=none)
    figures = evaluate_clouds({"a": nothing}, {"forklift": 0.5})["forklift"].figures()
    assert figures["3d"] == figures["bev"] == figures["distance"] == figures["3d/R40"] == 0
    assert "precision" not in figures
    with pytest.raises(DataError, match="no frame"):
        evaluate_clouds({}, {"forklift": 0.5})


def test_a_turned_detection_fits_with_a_heading_error() -> None:
    turned = one_frame(found=np.array([[10.0, 0, -1, 4, 2, 1.5, np.pi]]))
    figures = evaluate_clouds({"a": turned}, {"forklift": 0.5})["forklift"].figures()
    assert (figures["3d"], figures["heading_error"]) == pytest.approx((100, 180))
