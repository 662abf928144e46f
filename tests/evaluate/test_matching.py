"""Matching on crowded random frames against a plain evaluator over dictionaries and shapely, written here."""

from dataclasses import replace

import numpy as np
import pytest
from shapely.geometry import Polygon, box

from mink_pd.data.objects import Objects
from mink_pd.evaluate.kitti import evaluate_kitti, operating_points
from mink_pd.evaluate.matching import match_frame
from mink_pd.evaluate.rules import MIN_IOU

LIMITS = {"easy": (40, 0, 0.15), "moderate": (25, 1, 0.3), "hard": (25, 2, 0.5)}
Frames = dict[str, Objects]


def random_objects(count: int, rng: np.random.Generator, kinds: list[str], scored: bool) -> Objects:
    height = rng.uniform(15, 80, count)
    corner = rng.uniform([0, 100], [250, 150], (count, 2))
    return Objects(
        names=rng.choice(kinds, count).astype("<U16"),
        truncated=rng.choice([0, 0, 0, 0.15, 0.3, 0.5, 0.7], count),
        occluded=rng.choice([0, 0, 0, 1, 2, 3], count),
        alpha=rng.uniform(-np.pi, np.pi, count),
        bbox=np.column_stack([corner, corner[:, 0] + 1.5 * height, corner[:, 1] + height]),
        dimensions=rng.uniform([1.4, 1.5, 3.5], [1.6, 1.7, 4.5], (count, 3)),
        location=rng.uniform([-6, 1.5, 10], [6, 1.7, 25], (count, 3)),
        rotation_y=rng.uniform(-np.pi, np.pi, count),
        score=np.round(rng.normal(size=count), 1) if scored else None,
    )


def random_frames(count: int, seed: int) -> tuple[Frames, Frames]:
    """Labels of all kinds; detections are noisy copies, some doubled, some of the wrong class, and strays."""
    rng = np.random.default_rng(seed)
    labels: Frames = {}
    detections: Frames = {}
    kinds = ["Car"] * 3 + ["Pedestrian"] * 3 + ["Cyclist"] * 3 + ["Van", "Truck", "DontCare"]
    turned_into = {"Van": "Car", "Truck": "Car", "DontCare": "Pedestrian"}
    for frame in range(count):
        truth = random_objects(int(rng.integers(0, 10)), rng, kinds, scored=False)
        copies = rng.choice([0, 1, 1, 2], len(truth))
        found = truth[rng.permutation(np.repeat(np.arange(len(truth)), copies))]
        noise = random_objects(len(found), rng, ["Cyclist"], scored=True)
        names = np.array([turned_into.get(name, name) for name in found.names], dtype="<U16")
        detections[str(frame)] = replace(
            found,
            names=np.where(rng.random(len(found)) < 0.9, names, noise.names),
            bbox=found.bbox + rng.normal(0, 2, found.bbox.shape),
            location=found.location + rng.normal(0, 0.1, found.location.shape),
            alpha=found.alpha + rng.choice([0, 0.1, np.pi], len(found)),
            score=noise.score,
        )
        labels[str(frame)] = truth
    return labels, detections


def footprint(objects: Objects, i: int) -> Polygon:
    _, width, length = objects.dimensions[i]
    cos, sin = np.cos(objects.rotation_y[i]), np.sin(objects.rotation_y[i])
    x, _, z = objects.location[i]
    ends = [(length / 2 * s, width / 2 * t) for s, t in [(1, 1), (-1, 1), (-1, -1), (1, -1)]]
    return Polygon([(x + a * cos + b * sin, z - a * sin + b * cos) for a, b in ends])


def overlap(labels: Objects, g: int, found: Objects, d: int, metric: str) -> float:
    if metric == "bbox":
        a, b = box(*labels.bbox[g]), box(*found.bbox[d])
        return a.intersection(b).area / a.union(b).area
    a, b = footprint(labels, g), footprint(found, d)
    shared = a.intersection(b).area
    if metric == "bev":
        return shared / (a.area + b.area - shared)
    bottom_a, bottom_b = labels.location[g, 1], found.location[d, 1]
    h_a, h_b = labels.dimensions[g, 0], found.dimensions[d, 0]
    shared *= max(0.0, min(bottom_a, bottom_b) - max(bottom_a - h_a, bottom_b - h_b))
    return shared / (a.area * h_a + b.area * h_b - shared)


class Plain:
    """The rules of the official evaluator, one class, level and metric, one frame at a time."""

    def __init__(self, labels: Objects, found: Objects, name: str, level: str, metric: str) -> None:
        height, occluded, truncated = LIMITS[level]
        self.found, self.labels, self.iou = found, labels, MIN_IOU[name]
        tall = labels.bbox[:, 3] - labels.bbox[:, 1] >= height
        self.role = [
            "counted"
            if labels.names[g] == name
            and tall[g]
            and labels.occluded[g] <= occluded
            and labels.truncated[g] <= truncated
            else "ignored"
            if labels.names[g] == name or (name, labels.names[g]) == ("Car", "Van")
            else ""
            for g in range(len(labels))
        ]
        small = found.bbox[:, 3] - found.bbox[:, 1] < height
        self.kind = ["small" if small[d] else "valid" if found.names[d] == name else "" for d in range(len(found))]
        self.fits = {
            (g, d): value
            for g in range(len(labels))
            for d in range(len(found))
            if self.role[g] and self.kind[d] and (value := overlap(labels, g, found, d, metric)) > self.iou
        }
        self.excused = [metric == "bbox" and self.in_dont_care(d) for d in range(len(found))]

    def in_dont_care(self, d: int) -> bool:
        mine = box(*self.found.bbox[d])
        regions = self.labels.bbox[self.labels.names == "DontCare"]
        return any(mine.intersection(box(*region)).area / mine.area > self.iou for region in regions)

    def run(self, cut: float | None) -> dict[int, int]:
        """Which detection each label takes; without a cut by score, with a cut by overlap."""
        taken: dict[int, int] = {}
        for g in range(len(self.labels)):
            free = [d for d in range(len(self.found)) if (g, d) in self.fits and d not in taken.values()]
            free = [d for d in free if cut is None or self.found.score[d] >= cut]
            if cut is not None:
                valid = [d for d in free if self.kind[d] == "valid"]
                best = max(valid, key=lambda d: self.fits[g, d]) if valid else free[0] if free else None
            else:
                best = max(free, key=lambda d: self.found.score[d]) if free else None
            if best is not None:
                taken[g] = best
        return taken

    def hits(self, cut: float | None) -> list[tuple[int, int]]:
        return [(g, d) for g, d in self.run(cut).items() if self.role[g] == "counted" and self.kind[d] == "valid"]

    def false_positives(self, cut: float) -> list[int]:
        taken = self.run(cut).values()
        valid = [d for d, kind in enumerate(self.kind) if kind == "valid" and self.found.score[d] >= cut]
        return [d for d in valid if d not in taken and not self.excused[d]]


def plain_curve(frames: list[Plain], similarity: bool) -> list[float]:
    scores = sorted((f.found.score[d] for f in frames for _, d in f.hits(None)), reverse=True)
    counted = sum(f.role.count("counted") for f in frames)
    cuts, recall = [], 0.0
    for i, score in enumerate(scores, start=1):
        if i == len(scores) or (i + 1) / counted - recall >= recall - i / counted:
            cuts.append(score)
            recall += 1 / 40
    curve = [0.0] * 41
    for k, cut in enumerate(cuts):
        hits = [(f, g, d) for f in frames for g, d in f.hits(cut)]
        wrong = sum(len(f.false_positives(cut)) for f in frames)
        alike = sum((1 + np.cos(f.labels.alpha[g] - f.found.alpha[d])) / 2 for f, g, d in hits)
        curve[k] = (alike if similarity else len(hits)) / (len(hits) + wrong)
    return [max(curve[k:]) for k in range(41)]


@pytest.mark.parametrize("name", list(MIN_IOU))
def test_equals_a_plain_evaluator(name: str) -> None:
    labels, detections = random_frames(60, seed=0)
    result = evaluate_kitti(labels, detections)[name]
    for column, level in enumerate(LIMITS):
        for metric, figures in result.items():
            kind = "bbox" if metric == "aos" else metric
            frames = [Plain(labels[i], detections[i], name, level, kind) for i in labels]
            curve = plain_curve(frames, similarity=metric == "aos")
            assert sum(curve) > 1
            assert figures["R40"][column] == pytest.approx(100 * sum(curve[1:]) / 40)
            assert figures["R11"][column] == pytest.approx(100 * sum(curve[::4]) / 11)


@pytest.mark.parametrize(("metric", "level"), [("3d", "moderate"), ("bev", "easy"), ("bbox", "hard")])
@pytest.mark.parametrize("cut", [-0.5, 0.3])
def test_match_frame_equals_the_plain_rules(metric: str, level: str, cut: float) -> None:
    labels, detections = random_frames(60, seed=1)
    seen = np.zeros(4, dtype=int)
    for frame, truth in labels.items():
        found = detections[frame]
        match = match_frame(truth, found, cut, level=level, overlap=metric)
        plain = [Plain(truth, found, name, level, metric) for name in MIN_IOU]
        hits = {d: g for p in plain for g, d in p.hits(cut)}
        wrong = {d for p in plain for d in p.false_positives(cut)}
        missed = {g for p in plain for g, role in enumerate(p.role) if role == "counted" and g not in p.run(cut)}
        right = np.nonzero(match.true_positive)[0]
        assert dict(zip(right, match.label[right], strict=True)) == hits
        assert set(np.nonzero(match.false_positive)[0]) == wrong
        assert set(np.nonzero(match.found)[0]) == set(hits.values())
        assert set(np.nonzero(match.missed)[0]) == missed
        assert (match.label[~match.true_positive] == -1).all()
        seen += len(hits), len(wrong), len(missed), len(found)
    assert (seen > 5).all()


def test_frames_add_up_to_the_operating_point() -> None:
    labels, detections = random_frames(40, seed=2)
    points = operating_points(labels, detections)
    cuts = {name: point.score for name, point in points.items() if point is not None}
    assert set(cuts) == set(MIN_IOU)
    matches = {frame: match_frame(labels[frame], detections[frame], cuts) for frame in labels}
    for name, point in points.items():
        assert point is not None
        wrong = sum((m.false_positive & (detections[f].names == name)).sum() for f, m in matches.items())
        right = sum((m.found & (labels[f].names == name)).sum() for f, m in matches.items())
        assert (right, wrong) == (point.true_positives, point.false_positives)
        assert point.false_positives_per_frame == wrong / 40


def test_a_class_without_a_cut_is_cut_off_whole() -> None:
    labels, detections = random_frames(10, seed=3)
    for frame, truth in labels.items():
        match = match_frame(truth, detections[frame], {"Car": -9.0})
        assert set(truth.names[match.found]) <= {"Car"}
        assert set(detections[frame].names[match.false_positive]) <= {"Car"}


def test_match_frame_of_nothing() -> None:
    labels, detections = random_frames(5, seed=4)
    truth, found = max(zip(labels.values(), detections.values(), strict=True), key=lambda pair: len(pair[1]))
    nothing = match_frame(truth, found[:0], 0.0)
    assert nothing.true_positive.shape == (0,)
    assert nothing.missed.any()
    strays = match_frame(truth[:0], found, -9.0)
    assert strays.false_positive.any()
    assert not strays.true_positive.any()


def test_own_thresholds() -> None:
    labels, detections = random_frames(20, seed=5)
    strict = sum(match_frame(labels[f], detections[f], -9.0, {"Car": 0.9}).found.sum() for f in labels)
    loose = sum(match_frame(labels[f], detections[f], -9.0, {"Car": 0.3}).found.sum() for f in labels)
    assert strict < loose
