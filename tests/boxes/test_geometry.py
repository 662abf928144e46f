"""Corners and points in boxes against plain rotation matrices and shapely."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from shapely.geometry import MultiPoint, Polygon

from mink_pd.boxes.geometry import bev_corners, corners, pairs_in_boxes, points_in_boxes, wrap_angle


def random_boxes(count: int, seed: int, spread: float = 10) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [rng.uniform(-spread, spread, (count, 3)), rng.uniform(0.3, 6, (count, 3)), rng.uniform(-7, 7, count)]
    )


def test_corners_equal_rotated_unit_cubes() -> None:
    boxes = random_boxes(20, seed=0)
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) / 2
    for box, found in zip(boxes, corners(boxes), strict=True):
        cube = np.array([[*sign, height] for height in (-0.5, 0.5) for sign in signs])
        expected = Rotation.from_euler("z", box[6]).apply(cube * box[3:6]) + box[:3]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_bev_corners_run_counter_clockwise() -> None:
    boxes = random_boxes(20, seed=1)
    for box, face in zip(boxes, bev_corners(boxes), strict=True):
        polygon = Polygon(face)
        assert polygon.exterior.is_ccw
        assert polygon.area == pytest.approx(box[3] * box[4])


def test_points_in_boxes_equals_half_space_test() -> None:
    boxes = random_boxes(25, seed=2)
    points = np.random.default_rng(3).uniform(-12, 12, (3000, 4)).astype(np.float32)
    local = [Rotation.from_euler("z", -box[6]).apply(points[:, :3] - box[:3]) for box in boxes]
    expected = np.abs(local) <= boxes[:, None, 3:6] / 2  # (B, P, 3)
    found = points_in_boxes(points, boxes)
    assert found.sum() > 100
    np.testing.assert_array_equal(found, expected.all(axis=2))


def test_faces_belong_to_the_box() -> None:
    box = np.array([[1, 2, 3, 4, 2, 1, 0]])
    assert points_in_boxes(corners(box)[0], box).all()
    assert not points_in_boxes(corners(box)[0] + [1e-9, 0, 0], box).all()


@pytest.mark.parametrize(("points", "boxes"), [(0, 3), (5, 0), (0, 0)])
def test_points_in_boxes_of_nothing(points: int, boxes: int) -> None:
    assert points_in_boxes(np.zeros((points, 4)), np.ones((boxes, 7))).shape == (boxes, points)


def test_corners_of_no_box() -> None:
    assert corners(np.zeros((0, 7))).shape == (0, 8, 3)
    assert bev_corners([]).shape == (0, 4, 2)


def test_wrong_shape_is_an_error() -> None:
    with pytest.raises(ValueError, match="7 numbers"):
        corners(np.zeros((7, 8)))
    with pytest.raises(ValueError, match="3 columns"):
        points_in_boxes(np.zeros((4, 2)), np.zeros((1, 7)))


def test_wrap_angle_keeps_direction_and_range() -> None:
    angles = np.random.default_rng(4).uniform(-50, 50, 1000)
    angles = np.concatenate([angles, [np.pi, -np.pi, 3 * np.pi, -1e-17]])
    wrapped = wrap_angle(angles)
    assert ((wrapped >= -np.pi) & (wrapped < np.pi)).all()
    np.testing.assert_allclose(np.exp(1j * wrapped), np.exp(1j * angles), atol=1e-12)
    assert wrap_angle(np.nextafter(-np.pi, -4)) < np.pi


def test_corners_span_the_convex_hull() -> None:
    box = random_boxes(1, seed=5)
    hull = MultiPoint(corners(box)[0, :, :2]).convex_hull
    assert hull.area == pytest.approx(box[0, 3] * box[0, 4])


def test_pairs_of_many_boxes_agree_with_brute_force() -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform((-30, -30, -2), (30, 30, 2), (4000, 3)).astype(np.float32)
    points[:7, 0] = [np.nan, np.inf, -np.inf, 1e30, -1e30, 0, 0]
    boxes = np.column_stack([rng.uniform(-40, 40, (300, 2)), rng.uniform(-1, 1, 300), rng.uniform(0, 12, (300, 3)),
                             rng.uniform(-4, 4, 300)])  # fmt: skip
    turned = (points[None, :, :2] - boxes[:, None, :2]).astype(np.complex128)
    turned = (turned[..., 0] + 1j * turned[..., 1]) * np.exp(-1j * boxes[:, 6:7])  # (B, P)
    inside = (abs(turned.real) <= boxes[:, 3:4] / 2) & (abs(turned.imag) <= boxes[:, 4:5] / 2)
    inside &= abs(points[None, :, 2] - boxes[:, 2:3]) <= boxes[:, 5:6] / 2
    box, point = pairs_in_boxes(points, boxes)
    assert len(box) > len(points)
    np.testing.assert_array_equal((box, point), np.nonzero(inside))
    np.testing.assert_array_equal(points_in_boxes(points, boxes), inside)
    assert all(len(rows) == 0 for few in (points[:0], points) for rows in pairs_in_boxes(few, boxes[:0]))
    same = np.repeat(points[5:6], 9, axis=0)  # all points in one place
    assert len(pairs_in_boxes(same, [[0, *same[0, 1:], 1, 1, 1, 0]])[0]) == 9
