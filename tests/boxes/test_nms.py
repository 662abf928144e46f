"""Rotated NMS against a greedy loop over shapely polygons."""

import numpy as np
import pytest
from shapely.geometry import Polygon

from mink_pd.boxes.geometry import bev_corners
from mink_pd.boxes.nms import circle_nms, nms


def greedy(boxes: np.ndarray, scores: np.ndarray, iou: float) -> list[int]:
    shapes = [Polygon(face) for face in bev_corners(boxes)]
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        overlaps = [shapes[row].intersection(shapes[k]).area / shapes[row].union(shapes[k]).area for k in kept]
        if all(overlap <= iou for overlap in overlaps):
            kept.append(int(row))
    return kept


@pytest.mark.parametrize("iou", [0.01, 0.2, 0.5, 0.8])
def test_equals_greedy_shapely(iou: float) -> None:
    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.uniform(-8, 8, (150, 3)), rng.uniform(1, 5, (150, 3)), rng.uniform(-4, 4, 150)])
    copies = boxes[:50] + rng.normal(0, 0.05, (50, 7))  # to be suppressed
    boxes = np.concatenate([boxes, copies])
    scores = np.round(rng.random(200), 1)  # many equal scores
    kept = nms(boxes, scores, iou)
    assert kept.dtype == np.int64
    assert kept.tolist() == greedy(boxes, scores, iou)
    assert 0 < len(kept) < 200


def test_copies_leave_the_first_of_the_highest() -> None:
    boxes = np.tile([1, 2, 0, 4, 2, 1.5, 0.4], (5, 1))
    assert nms(boxes, [0.1, 0.7, 0.7, -1, 0.2], 0.5).tolist() == [1]


def test_height_plays_no_part() -> None:
    boxes = np.array([[0, 0, 0, 4, 2, 1, 0], [0, 0, 50, 4, 2, 1, 0.0]])
    assert nms(boxes, [0.1, 0.2], 0.5).tolist() == [1]


def test_no_box_and_wrong_scores() -> None:
    assert nms(np.zeros((0, 7)), [], 0.5).tolist() == []
    with pytest.raises(ValueError, match="score"):
        nms(np.zeros((2, 7)), [0.5], 0.5)


def test_a_limit_gives_the_first_of_all() -> None:
    random = np.random.default_rng(0)
    boxes = random.uniform([0, 0, 0, 2, 1, 1, -3], [12, 12, 1, 5, 2, 2, 3], (80, 7))
    scores = random.random(80)
    kept = nms(boxes, scores, 0.3)
    for limit in (0, 1, 5, len(kept), 200):
        assert nms(boxes, scores, 0.3, limit).tolist() == kept[:limit].tolist()


def test_circles_are_a_greedy_loop() -> None:
    rng = np.random.default_rng(0)
    centres, scores = rng.uniform(-10, 10, (200, 2)), np.round(rng.random(200), 1)
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        if all(np.hypot(*(centres[row] - centres[k])) > 1.5 for k in kept):
            kept.append(int(row))
    assert circle_nms(centres, scores, 1.5).tolist() == kept
    assert circle_nms(centres, scores, 1.5, limit=7).tolist() == kept[:7]
    assert 10 < len(kept) < 200
    assert circle_nms(np.zeros((0, 2)), [], 1.0).tolist() == []
