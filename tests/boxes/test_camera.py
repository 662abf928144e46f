"""Camera boxes to LiDAR boxes and back; corners against KITTI's own definition."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from mink_pd.boxes.camera import camera_to_lidar, lidar_to_camera
from mink_pd.boxes.geometry import corners, points_in_boxes, wrap_angle

# Axes of the camera (x right, y down, z forward) in those of the LiDAR, and a shift between them.
UPRIGHT = np.array([[0, -1, 0, 0.0], [0, 0, -1, -0.08], [1, 0, 0, -0.27], [0, 0, 0, 1]])


def tilted() -> np.ndarray:
    transform = UPRIGHT.copy()
    tilt = Rotation.from_euler("xyz", [0.5, -0.8, 0.3], degrees=True).as_matrix()
    transform[:3, :3] = tilt @ UPRIGHT[:3, :3]
    return transform


def kitti_corners(location: np.ndarray, dimensions: np.ndarray, rotation_y: float) -> np.ndarray:
    """(8, 3) in the camera frame: point (a, b) lies at x + a cos + b sin, z - a sin + b cos; y - h to y."""
    height, width, length = dimensions
    cos, sin = np.cos(rotation_y), np.sin(rotation_y)
    return np.array(
        [
            [location[0] + a * cos + b * sin, y, location[2] - a * sin + b * cos]
            for y in (location[1], location[1] - height)
            for a in (length / 2, -length / 2)
            for b in (width / 2, -width / 2)
        ]
    )


def random_rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    location, dimensions = rng.uniform(-40, 40, (count, 3)), rng.uniform(0.3, 6, (count, 3))
    return location, dimensions, rng.uniform(-np.pi, np.pi, count)


def test_corners_are_those_of_the_kitti_definition() -> None:
    location, dimensions, rotation_y = random_rows(30, seed=0)
    boxes = camera_to_lidar(location, dimensions, rotation_y, UPRIGHT)
    for row, found in enumerate(corners(boxes)):
        expected = kitti_corners(location[row], dimensions[row], rotation_y[row])
        expected = (expected - UPRIGHT[:3, 3]) @ UPRIGHT[:3, :3]  # camera -> LiDAR
        distance = np.linalg.norm(found[:, None] - expected[None], axis=2)
        assert distance.min(axis=1).max() < 1e-9
        assert distance.min(axis=0).max() < 1e-9


def test_a_car_straight_ahead_driving_away_has_yaw_zero() -> None:
    box = camera_to_lidar([[0, 1.6, 20]], [[1.5, 1.6, 3.9]], [-np.pi / 2], UPRIGHT)
    np.testing.assert_allclose(box[0], [20.27, 0, -1.6 - 0.08 + 0.75, 3.9, 1.6, 1.5, 0], atol=1e-12)


def test_round_trips_are_exact_under_a_tilted_camera() -> None:
    location, dimensions, rotation_y = random_rows(100, seed=1)
    boxes = camera_to_lidar(location, dimensions, rotation_y, tilted())
    assert ((boxes[:, 6] >= -np.pi) & (boxes[:, 6] < np.pi)).all()
    back = lidar_to_camera(boxes, tilted())
    np.testing.assert_allclose(back[0], location, atol=1e-10)
    np.testing.assert_array_equal(back[1], dimensions)
    np.testing.assert_allclose(wrap_angle(back[2] - rotation_y), 0, atol=1e-12)
    np.testing.assert_allclose(camera_to_lidar(*back, tilted()), boxes, atol=1e-10)


def test_no_box() -> None:
    empty = camera_to_lidar(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), UPRIGHT)
    assert empty.shape == (0, 7)
    assert [part.shape for part in lidar_to_camera(empty, UPRIGHT)] == [(0, 3), (0, 3), (0,)]


def calibration_matrix(path: Path) -> np.ndarray:
    rows = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    rect, transform = np.eye(4), np.eye(4)
    rect[:3, :3] = np.array(rows["R0_rect"].split(), dtype=float).reshape(3, 3)
    transform[:3] = np.array(rows["Tr_velo_to_cam"].split(), dtype=float).reshape(3, 4)
    return rect @ transform


def test_real_frames_round_trip_and_hold_points(shared: Callable[[str], Path]) -> None:
    folder = shared("kitti_real") / "training"
    seen = 0
    for path in sorted((folder / "label_2").glob("*.txt")):
        rows = [line.split() for line in path.read_text().splitlines() if not line.startswith("DontCare")]
        numbers = np.array([row[8:15] for row in rows], dtype=float)
        transform = calibration_matrix(folder / "calib" / path.name)
        boxes = camera_to_lidar(numbers[:, 3:6], numbers[:, :3], numbers[:, 6], transform)
        location, dimensions, rotation_y = lidar_to_camera(boxes, transform)
        back = np.column_stack([dimensions, location, rotation_y])
        assert [[f"{v:.2f}" for v in row] for row in back] == [row[8:15] for row in rows]
        points = np.fromfile(folder / "velodyne" / f"{path.stem}.bin", dtype=np.float32).reshape(-1, 4)
        plain = np.array([row[2] == "0" for row in rows]) & (numbers[:, 5] < 30)  # in full view and near
        assert (points_in_boxes(points, boxes).sum(axis=1)[plain] >= 20).all()
        seen += len(rows)
    assert seen > 0
