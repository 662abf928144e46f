"""Rotated overlap against shapely and against cases with a known answer."""

import numpy as np
import pytest
from shapely.geometry import Polygon

from mink_pd.boxes.geometry import bev_corners
from mink_pd.boxes.iou import bev_intersection, bev_iou, iou_3d

GROUND = [0, 1, 3, 4, 6]


def random_boxes(count: int, rng: np.random.Generator, spread: float = 6) -> np.ndarray:
    return np.column_stack(
        [rng.uniform(-spread, spread, (count, 3)), rng.uniform(0.3, 6, (count, 3)), rng.uniform(-7, 7, count)]
    )


def shapely_intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array(
        [[Polygon(p).intersection(Polygon(q)).area for q in bev_corners(b)] for p in bev_corners(a)]
    ).reshape(len(a), len(b))


def test_random_boxes_equal_shapely() -> None:
    rng = np.random.default_rng(0)
    a, b = random_boxes(50, rng), random_boxes(60, rng)
    shared = shapely_intersection(a, b)
    area_a, area_b = a[:, 3] * a[:, 4], b[:, 3] * b[:, 4]
    assert np.count_nonzero(shared) > 300
    np.testing.assert_allclose(bev_intersection(a[:, GROUND], b[:, GROUND]), shared, atol=1e-10)
    union = np.add.outer(area_a, area_b) - shared
    np.testing.assert_allclose(bev_iou(a[:, GROUND], b[:, GROUND]), shared / union, atol=1e-10)

    top = np.minimum.outer(a[:, 2] + a[:, 5] / 2, b[:, 2] + b[:, 5] / 2)
    bottom = np.maximum.outer(a[:, 2] - a[:, 5] / 2, b[:, 2] - b[:, 5] / 2)
    volume = shared * np.clip(top - bottom, 0, None)
    union = np.add.outer(area_a * a[:, 5], area_b * b[:, 5]) - volume
    np.testing.assert_allclose(iou_3d(a, b), volume / union, atol=1e-10)


def test_contained_boxes_equal_shapely() -> None:
    rng = np.random.default_rng(1)
    outer = random_boxes(40, rng)
    inner = outer.copy()
    inner[:, 3:5] *= 0.5
    inner[:, 6] += rng.uniform(-0.2, 0.2, 40)
    found = bev_intersection(outer[:, GROUND], inner[:, GROUND])
    np.testing.assert_allclose(found, shapely_intersection(outer, inner), atol=1e-10)


@pytest.mark.parametrize("turn", [0, np.pi, -np.pi, 2 * np.pi])
def test_identical_and_half_turned_boxes(turn: float) -> None:
    boxes = random_boxes(500, np.random.default_rng(2), spread=80)
    turned = boxes.copy()
    turned[:, 6] += turn
    for box, other in zip(boxes, turned, strict=True):
        assert bev_iou(box[None, GROUND], other[None, GROUND])[0, 0] == pytest.approx(1, abs=1e-12)
        assert iou_3d(box[None], other[None])[0, 0] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_boxes_slid_along_their_length_share_edges(share: float) -> None:
    boxes = random_boxes(300, np.random.default_rng(3), spread=80)
    slid = boxes.copy()
    slid[:, 0] += share * boxes[:, 3] * np.cos(boxes[:, 6])
    slid[:, 1] += share * boxes[:, 3] * np.sin(boxes[:, 6])
    for box, other in zip(boxes, slid, strict=True):
        found = bev_iou(box[None, GROUND], other[None, GROUND])[0, 0]
        assert found == pytest.approx((1 - share) / (1 + share), abs=1e-11)


def test_touching_boxes_share_nothing() -> None:
    box = np.array([[0, 0, 4, 2, 0.0]])
    beside = np.array([[4, 0, 4, 2, 0], [0, 2, 4, 2, 0], [4, 2, 4, 2, 0], [3, 0, 2, 2, np.pi / 2]])
    np.testing.assert_allclose(bev_iou(box, beside), 0, atol=1e-15)


def test_square_turned_by_45_degrees() -> None:
    found = bev_intersection([[0, 0, 2, 2, 0]], [[0, 0, 2, 2, np.pi / 4]])[0, 0]
    assert found == pytest.approx(8 * (np.sqrt(2) - 1), abs=1e-12)  # a regular octagon


@pytest.mark.parametrize("size", [(0, 2), (2, 0), (0, 0), (-1, -1), (-1, 2)])
def test_boxes_without_area_overlap_nothing(size: tuple[float, float]) -> None:
    flat = np.array([[0, 0, *size, 0.3]])
    assert bev_iou(flat, flat)[0, 0] == 0
    assert bev_iou(flat, [[0, 0, 2, 2, 0.3]])[0, 0] == 0
    box = np.array([[0, 0, 0, size[0], size[1], 1, 0.3]])
    assert iou_3d(box, box)[0, 0] == 0


def test_boxes_without_height_overlap_nothing() -> None:
    boxes = np.array([[0, 0, 0, 2, 2, 0, 0], [0, 0, 0, 2, 2, -1, 0], [0, 0, 0, 2, 2, 1, 0.0]])
    np.testing.assert_array_equal(iou_3d(boxes, boxes), np.diag([0, 0, 1.0]))


def test_boxes_above_one_another_overlap_only_from_above() -> None:
    a, b = np.array([[0, 0, 0, 4, 2, 1, 0.0]]), np.array([[0, 0, 1.5, 4, 2, 1, 0.0]])
    assert bev_iou(a[:, GROUND], b[:, GROUND])[0, 0] == 1
    assert iou_3d(a, b)[0, 0] == 0


def test_thin_and_nearly_parallel_boxes_equal_shapely() -> None:
    rng = np.random.default_rng(4)
    boxes = random_boxes(60, rng, spread=1)
    boxes[:, 4] = 1e-3
    boxes[:, 6] = rng.uniform(-1e-8, 1e-8, 60)
    found = bev_intersection(boxes[:, GROUND], boxes[:, GROUND])
    np.testing.assert_allclose(found, shapely_intersection(boxes, boxes), atol=1e-9)


@pytest.mark.parametrize("amount", [0, 1e-16, 1e-12, 1e-9, 1e-6])
@pytest.mark.parametrize("place", [0, 1e4])
def test_nearly_coinciding_boxes_equal_shapely(amount: float, place: float) -> None:
    """Also turned by right angles: the same rectangle with length and width exchanged, or a cross of two. Far out,
    coordinates round to 2e-12, and areas by that times the length of the sides."""
    rng = np.random.default_rng(5)
    boxes = random_boxes(400, rng)
    boxes[:200, 6] = rng.integers(-4, 5, 200) * (np.pi / 2)
    boxes[:, :2] += place
    others = boxes * (1 + amount * rng.normal(size=boxes.shape))
    exchanged = rng.random(400) < 0.5
    others[exchanged, 3:5] = others[exchanged, 4:2:-1]
    others[:, 6] += rng.integers(-4, 5, 400) * (np.pi / 2)
    for box, other in zip(boxes, others, strict=True):
        found = bev_intersection(box[None, GROUND], other[None, GROUND])
        wanted = shapely_intersection(box[None], other[None])
        np.testing.assert_allclose(found, wanted, atol=1e-10 if place == 0 else 1e-9)
        np.testing.assert_allclose(bev_intersection(other[None, GROUND], box[None, GROUND]), found, atol=1e-10)


def test_very_small_and_very_large_boxes_equal_shapely() -> None:
    rng = np.random.default_rng(6)
    a, b = random_boxes(40, rng, spread=1), random_boxes(40, rng, spread=1)
    a[:, 3:5] *= 10 ** rng.uniform(-6, 3, (40, 2))
    b[:, 3:5] *= 10 ** rng.uniform(-6, 3, (40, 2))
    found, wanted = bev_intersection(a[:, GROUND], b[:, GROUND]), shapely_intersection(a, b)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10)


def test_boxes_apart_share_exactly_nothing() -> None:
    """Circles around them meet, so that the rectangles are looked at: rounding must not make two boxes touch, for
    whoever moves or pastes boxes asks for more than 0."""
    rng = np.random.default_rng(7)
    a, b = random_boxes(300, rng), random_boxes(300, rng)
    gap = np.array([[Polygon(p).distance(Polygon(q)) for q in bev_corners(b)] for p in bev_corners(a)])
    reach = np.add.outer(np.hypot(a[:, 3], a[:, 4]), np.hypot(b[:, 3], b[:, 4])) / 2
    between = np.linalg.norm(a[:, None, :2] - b[:, :2], axis=2)
    apart = (gap > 1e-9) & (between < reach)
    assert np.count_nonzero(apart) > 5000
    np.testing.assert_array_equal(bev_intersection(a[:, GROUND], b[:, GROUND])[apart], 0)


def test_a_small_box_on_the_edge_of_a_large_one_keeps_its_digits() -> None:
    """Half of it is inside: 5e-9 m^2 of 1e6. In the small one's frame the large one's place rounds by 1e-13 m."""
    large, turns = np.array([[0, 0, 1000, 1000, 0.0]]), np.arange(8) * (np.pi / 8)
    for place in ([500, 3], [-500, 3], [3, 500], [3, -500]):
        small = np.column_stack([np.tile(place, (8, 1)), np.full((8, 2), 1e-4), turns])
        np.testing.assert_allclose(bev_intersection(large, small), 5e-9, rtol=1e-8)
        np.testing.assert_allclose(bev_intersection(small, large), 5e-9, rtol=1e-12)


def test_empty_inputs() -> None:
    assert bev_iou(np.zeros((0, 5)), np.ones((3, 5))).shape == (0, 3)
    assert iou_3d(np.ones((3, 7)), np.zeros((0, 7))).shape == (3, 0)
    assert bev_intersection([], []).shape == (0, 0)
