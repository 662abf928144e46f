from dataclasses import replace

import numpy as np
import pytest
from shapely.geometry import Polygon

from mink_pd.boxes.geometry import bev_corners, corners, points_in_boxes
from mink_pd.config.data import AugmentConfig, ObjectNoise, Tilt
from mink_pd.data.frame import Frame
from mink_pd.data.loading.augment import augment, mirror, mirror_ahead, move_objects, rotate, scale, tilt

INSIDE = 180  # points 0 to 179 of the scene lie in boxes, 60 in each


def same_corners(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether the corners (B, 8, 3) are the same places, in whatever order (mirroring changes it)."""
    distance = np.linalg.norm(ours[:, :, None] - theirs[:, None], axis=-1)  # (B, 8, 8)
    return bool(distance.min(axis=2).max() < 1e-4)


def overlaps(frame: Frame) -> bool:
    shapes = [Polygon(box) for box in bev_corners(frame.boxes)]
    return any(a.intersection(b).area > 1e-6 for i, a in enumerate(shapes) for b in shapes[:i])


@pytest.mark.parametrize(
    ("change", "transform"),
    [
        (mirror, np.diag([1.0, -1, 1])),
        (mirror_ahead, np.diag([-1.0, 1, 1])),
        (lambda frame: rotate(frame, np.pi / 2), np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])),
        (lambda frame: rotate(frame, 3.0), None),
        (lambda frame: scale(frame, 1.25), np.eye(3) * 1.25),
    ],
)
def test_points_and_boxes_move_together(scene: Frame, change, transform: np.ndarray | None) -> None:
    if transform is None:
        c, s = np.cos(3.0), np.sin(3.0)
        transform = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    changed = change(scene)
    np.testing.assert_allclose(changed.points[:, :3], scene.points[:, :3] @ transform.T, atol=1e-4)
    np.testing.assert_array_equal(changed.points[:, 3], scene.points[:, 3])
    assert same_corners(corners(changed.boxes), corners(scene.boxes) @ transform.T)
    assert (abs(changed.boxes[:, 6]) <= np.float32(np.pi)).all()
    assert changed.points.dtype == changed.boxes.dtype == np.float32


def test_mirroring_keeps_the_heading_forward(scene: Frame) -> None:
    front = np.cos(scene.boxes[:, 6]), np.sin(scene.boxes[:, 6])
    yaw = mirror(scene).boxes[:, 6]
    np.testing.assert_allclose((np.cos(yaw), np.sin(yaw)), (front[0], -front[1]), atol=1e-6)


def test_tilted_ground_carries_its_objects(scene: Frame) -> None:
    """Against the plane itself: what lay on it lies on the tilted one, and heights above it are kept."""
    slope, rise = np.array([0.02, -0.01]), 0.1
    tilted = tilt(scene, slope, rise)
    for before, after in ((scene.points, tilted.points), (scene.boxes, tilted.boxes)):
        plane = before[:, 0] * 0.02 - before[:, 1] * 0.01 + 0.1
        np.testing.assert_allclose(after[:, 2] - plane, before[:, 2], atol=1e-5)
        np.testing.assert_array_equal(np.delete(after, 2, axis=1), np.delete(before, 2, axis=1))
        assert after.dtype == np.float32


def test_tilts_are_as_steep_as_asked(scene: Frame) -> None:
    config = AugmentConfig(flip=0, rotation=(0, 0), scaling=(1, 1), tilt=Tilt(slope=(0.02, 0.005), height=0.1))
    corner = np.array([[0, 0, 0, 0], [10, 0, 0, 0], [0, 10, 0, 0]], np.float32)
    rng = np.random.default_rng(0)
    z = np.array([augment(replace(scene, points=corner), config, rng).points[:, 2] for _ in range(2000)])  # (2000, 3)
    spread = np.array([z[:, 0], (z[:, 1] - z[:, 0]) / 10, (z[:, 2] - z[:, 0]) / 10]).std(1)
    np.testing.assert_allclose(spread, (0.1, 0.02, 0.005), rtol=0.06)


def test_moved_objects_take_their_points_along(scene: Frame) -> None:
    noise = ObjectNoise(shift=(0.5, 0.5, 0.2), rotation=(-0.3, 0.3))
    moved = move_objects(scene, noise, np.random.default_rng(0))
    assert (abs(moved.boxes[:, :3] - scene.boxes[:, :3]).max(axis=1) > 0.01).all()
    assert (abs(moved.boxes[:, 6] - scene.boxes[:, 6]) <= 0.3 + 1e-6).all()
    np.testing.assert_array_equal(moved.boxes[:, 3:6], scene.boxes[:, 3:6])
    np.testing.assert_array_equal(moved.points[INSIDE:], scene.points[INSIDE:])
    for b, (before, after) in enumerate(zip(scene.boxes, moved.boxes, strict=True)):
        rows = slice(60 * b, 60 * b + 60)
        local = []
        for frame, box in ((scene, before), (moved, after)):  # by turning back, with complex numbers
            turned = ((frame.points[rows, 0] - box[0]) + 1j * (frame.points[rows, 1] - box[1])) * np.exp(-1j * box[6])
            local.append(np.column_stack([turned.real, turned.imag, frame.points[rows, 2] - box[2]]))
        np.testing.assert_allclose(local[0], local[1], atol=1e-4)


def test_moved_objects_never_overlap() -> None:
    """Five cars in a row, half a metre apart, thrown about by metres."""
    boxes = np.array([[10, 2.1 * n, -1, 4, 1.6, 1.5, 0] for n in range(5)], np.float32)
    frame = Frame("0", np.zeros((0, 4), np.float32), boxes, np.array(["Car"] * 5))
    noise = ObjectNoise(shift=(1.5, 1.5, 0), rotation=(-1, 1))
    moved = [move_objects(frame, noise, np.random.default_rng(seed)) for seed in range(20)]
    assert not any(overlaps(m) for m in moved)
    assert np.mean([(m.boxes != boxes).any(axis=1) for m in moved]) > 0.5


def test_an_object_without_room_stays_with_its_points() -> None:
    boxes = np.array([[10, 0, 0, 4, 2, 2, 0], [10, 0.2, 0, 40, 40, 2, 0]], np.float32)
    points = np.array([[10, 0, 0, 1], [3, 3, 0, 1]], np.float32)
    frame = Frame("0", points, boxes, np.array(["Car", "Truck"]))
    moved = move_objects(frame, ObjectNoise(), np.random.default_rng(0))
    np.testing.assert_array_equal(moved.boxes, boxes)
    np.testing.assert_array_equal(moved.points, points)


def test_a_point_in_two_boxes_moves_once() -> None:
    boxes = np.array([[0, 0, 0, 2, 2, 2, 0], [1.5, 0, 0, 2, 2, 2, 0]], np.float32)
    frame = Frame("0", np.array([[0.75, 0, 0, 0]], np.float32), boxes, np.array(["Car", "Car"]))
    noise = ObjectNoise(shift=(20, 20, 0), rotation=(0, 0))
    moved = move_objects(frame, noise, np.random.default_rng(1))
    np.testing.assert_allclose(moved.points[0, :3] - frame.points[0, :3], (moved.boxes - boxes)[0, :3], atol=1e-5)


def test_augmentation_is_decided_by_the_generator_and_leaves_its_input(scene: Frame) -> None:
    config = AugmentConfig(object_noise=ObjectNoise())
    points, boxes = scene.points.copy(), scene.boxes.copy()
    first, again, other = (augment(scene, config, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert (first.boxes != other.boxes).any()
    np.testing.assert_array_equal(scene.points, points)
    np.testing.assert_array_equal(scene.boxes, boxes)
    counts = [points_in_boxes(f.points, replace(f, boxes=f.boxes * 1.0).boxes).sum(axis=1) for f in (scene, first)]
    assert (counts[1] >= 58).all()  # float32 may lose one at a face
    assert first.objects is first.calibration is first.dont_care is None


def test_each_step_can_be_switched_off(scene: Frame) -> None:
    still = AugmentConfig(flip=0, rotation=(0, 0), scaling=(1, 1))
    np.testing.assert_array_equal(augment(scene, still, np.random.default_rng(0)).points, scene.points)
    assert augment(scene, AugmentConfig(enabled=False), np.random.default_rng(0)) is scene
    flipped = augment(scene, still.model_copy(update={"flip": 1.0}), np.random.default_rng(0))
    np.testing.assert_array_equal(flipped.points, mirror(scene).points)


def test_flips_come_as_often_as_asked(scene: Frame) -> None:
    config = AugmentConfig(flip=0.25, rotation=(0, 0), scaling=(1, 1))
    small = replace(scene, points=scene.points[:1])
    rng = np.random.default_rng(0)
    flips = [augment(small, config, rng).points[0, 1] != small.points[0, 1] for _ in range(1000)]
    assert 200 < sum(flips) < 300


def test_frames_without_boxes_or_points_pass(scene: Frame) -> None:
    config = AugmentConfig(object_noise=ObjectNoise())
    empty = Frame("0", np.zeros((0, 4), np.float32))
    assert len(augment(empty, config, np.random.default_rng(0)).points) == 0
    bare = replace(scene, boxes=scene.boxes[:0], names=scene.names[:0])
    assert len(augment(bare, config, np.random.default_rng(0)).points) == len(scene.points)


@pytest.mark.parametrize(
    "change",
    [
        mirror,
        mirror_ahead,
        lambda frame: rotate(frame, 2.1),
        lambda frame: scale(frame, 0.8),
    ],
)
def test_velocities_lead_to_where_the_objects_would_be(scene: Frame, change) -> None:
    """Where an object is one second later: the change of that place is that place after the change."""
    scene = replace(scene, velocities=np.array([[3.0, 1.0], [-0.5, 2.0], [0.0, -7.0]], np.float32))
    before = scene.boxes.copy()
    changed = change(scene)
    later = scene.boxes.copy()
    later[:, :2] += scene.velocities
    expected = (change(replace(scene, boxes=later)).boxes - changed.boxes)[:, :2]
    np.testing.assert_allclose(changed.velocities, expected, atol=1e-4)
    assert changed.velocities.dtype == np.float32
    np.testing.assert_array_equal(scene.boxes, before)


def test_a_turned_object_moves_on_where_it_then_points(scene: Frame) -> None:
    speed = np.array([3.0, 0.5, 8.0])
    ahead = np.stack([np.cos(scene.boxes[:, 6]), np.sin(scene.boxes[:, 6])], axis=1)
    driving = replace(scene, velocities=(speed[:, None] * ahead).astype(np.float32))
    moved = move_objects(driving, ObjectNoise(rotation=(-0.3, 0.3)), np.random.default_rng(0))
    assert (abs(moved.boxes[:, 6] - scene.boxes[:, 6]) > 1e-3).all()
    expected = speed[:, None] * np.stack([np.cos(moved.boxes[:, 6]), np.sin(moved.boxes[:, 6])], axis=1)
    np.testing.assert_allclose(moved.velocities, expected, atol=1e-4)


def test_unknown_velocities_stay_unknown(scene: Frame) -> None:
    scene = replace(scene, velocities=np.array([[1, 2], [np.nan, np.nan], [0, 1]], np.float32))
    config = AugmentConfig(flip=1, flip_x=1, object_noise=ObjectNoise())
    changed = augment(scene, config, np.random.default_rng(0)).velocities
    np.testing.assert_array_equal(np.isnan(changed), np.isnan(scene.velocities))


def test_a_fifth_column_rides_along(scene: Frame) -> None:
    lag = np.arange(len(scene.points), dtype=np.float32)
    with_lag = replace(scene, points=np.column_stack([scene.points, lag]))
    config = AugmentConfig(object_noise=ObjectNoise())
    four, five = (augment(one, config, np.random.default_rng(1)).points for one in (scene, with_lag))
    np.testing.assert_array_equal(five[:, :4], four)
    np.testing.assert_array_equal(five[:, 4], lag)
