"""The score of a wanted precision against brute force with shapely."""

import math

import numpy as np
import pytest
from shapely import affinity
from shapely.geometry import Polygon, box

from mink_pd.data.frame import Frame
from mink_pd.detect.predict import FrameDetections
from mink_pd.evaluate.best_first import Ranking
from mink_pd.evaluate.score_levels import level_of_precision, rank_boxes


def polygon(row: np.ndarray) -> Polygon:
    x, y, _, length, width, _, yaw = row.tolist()
    return affinity.rotate(box(x - length / 2, y - width / 2, x + length / 2, y + width / 2), yaw, use_radians=True)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    a, b = polygon(one), polygon(other)
    return a.intersection(b).area / a.union(b).area


def scenes(seed: int) -> tuple[list[Frame], list[FrameDetections]]:
    """Frames with objects of two classes, and detections near them, twice over, or anywhere."""
    random = np.random.default_rng(seed)
    frames, found = [], []
    for number in range(12):
        boxes = random.uniform([0, -20, -1, 3, 1, 1, -3], [40, 20, 0, 5, 2, 2, 3], (random.integers(0, 6), 7))
        names = random.choice(["Car", "Van"], len(boxes))
        near = boxes.repeat(2, axis=0) + random.normal(0, 0.25, (2 * len(boxes), 7))
        stray = random.uniform([0, -20, -1, 3, 1, 1, -3], [40, 20, 0, 5, 2, 2, 3], (3, 7))
        kinds = np.concatenate([names.repeat(2), random.choice(["Car", "Van"], 3)])
        scores = random.uniform(0.2, 1, len(kinds)) - 0.4 * (np.arange(len(kinds)) >= len(near))
        frames.append(Frame(str(number), np.zeros((0, 4), np.float32), boxes.astype(np.float32), names))
        found.append(FrameDetections(np.concatenate([near, stray]), kinds, scores))
    return frames, found


def right_by_hand(frames: list[Frame], found: list[FrameDetections], name: str, least: float) -> list[tuple]:
    """(score, whether right) of every box of the class; the one of highest score chooses first."""
    rows = []
    for frame, boxes in zip(frames, found, strict=True):
        free = [row for row, own in enumerate(frame.names) if own == name]
        for row in sorted(range(len(boxes)), key=lambda row: -boxes.scores[row]):
            if boxes.names[row] != name:
                continue
            best = max(free, key=lambda label: iou(frame.boxes[label], boxes.boxes[row]), default=None)
            right = best is not None and iou(frame.boxes[best], boxes.boxes[row]) >= least
            if right:
                free.remove(best)
            rows.append((boxes.scores[row], right))
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_levels_against_every_cut(seed: int) -> None:
    frames, found = scenes(seed)
    for name in ("Car", "Van"):
        rows = right_by_hand(frames, found, name, 0.5)
        ranking = rank_boxes(frames, found, name, 0.5)
        assert ranking.counted == sum((frame.names == name).sum() for frame in frames)
        assert sorted(zip(ranking.scores, ranking.right, strict=True)) == sorted(rows)
        levels = set()
        for precision in (0.2, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
            cuts = {score: np.mean([right for other, right in rows if other >= score]) for score, _ in rows}
            wanted = min((score for score, share in cuts.items() if share >= precision), default=math.inf)
            wanted = -math.inf if wanted == min(cuts) else wanted
            assert level_of_precision(ranking, precision) == wanted
            levels.add(wanted)
        assert len(levels) > 2


def test_boxes_of_one_score_are_cut_together() -> None:
    ranking = Ranking(np.array([0.9, 0.5, 0.5, 0.4]), np.array([True, True, False, True]), 5)
    assert level_of_precision(ranking, 0.9) == 0.9
    assert level_of_precision(ranking, 0.75) == -math.inf


def test_no_box_at_all() -> None:
    nothing = FrameDetections(np.zeros((0, 7)), np.zeros(0, "<U3"), np.zeros(0))
    ranking = rank_boxes([Frame("0", np.zeros((0, 4), np.float32))], [nothing], "Car", 0.5)
    assert level_of_precision(ranking, 0.5) == math.inf
