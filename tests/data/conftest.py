"""A tiny data set in KITTI's layout, and real frames under a root that may be written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mink_pd.boxes.camera import lidar_to_camera
from mink_pd.data.frame import Frame
from mink_pd.data.kitti.calibration import Calibration, write_calibration
from mink_pd.data.kitti.labels import write_objects
from mink_pd.data.objects import Objects

# x, y, z of the centre, l, w, h, yaw: far enough apart that none overlaps from above.
BOXES = {
    "Car": (12.0, 1.0, -1.0, 3.9, 1.6, 1.5, 0.4),
    "Pedestrian": (9.0, -3.0, -0.8, 0.8, 0.6, 1.7, -1.2),
    "Van": (22.0, 6.0, -0.7, 5.0, 1.9, 2.0, 3.0),
}


def calibration() -> Calibration:
    """A camera without tilt, 0.27 m ahead of the LiDAR, so that camera and LiDAR boxes are upright alike."""
    p2 = np.array([[720.0, 0, 610, 45], [0, 720, 173, 0.2], [0, 0, 1, 0.003]])
    velo_to_cam = np.array([[0, -1.0, 0, 0.0], [0, 0, -1, -0.08], [1, 0, 0, -0.27]])
    return Calibration(p2, np.eye(3), velo_to_cam)


def label_rows(names: list[str], boxes: np.ndarray) -> Objects:
    """Label rows of the boxes (B, 7) and a DontCare region."""
    location, size, rotation_y = lidar_to_camera(boxes, calibration().camera_from_lidar)
    rows = len(names) + 1
    return Objects(
        names=np.array([*names, "DontCare"]),
        truncated=np.array([0.0] * len(names) + [-1]),
        occluded=np.array([0] * len(names) + [-1]),
        alpha=np.array([0.5] * len(names) + [-10]),
        bbox=np.tile([100.0, 150, 180, 210], (rows, 1)),
        dimensions=np.vstack([size, [-1.0] * 3]),
        location=np.vstack([location, [-1000.0] * 3]),
        rotation_y=np.append(rotation_y, -10.0),
    )


def points_on(boxes: np.ndarray, rng: np.random.Generator, count: int = 60) -> np.ndarray:
    """``count`` points inside each box and ten times as many around: float32 (P, 4)."""
    local = rng.uniform(-0.45, 0.45, (len(boxes), count, 3)) * boxes[:, None, 3:6]
    cos, sin = np.cos(boxes[:, 6])[:, None], np.sin(boxes[:, 6])[:, None]
    inside = np.empty_like(local)
    inside[..., 0] = cos * local[..., 0] - sin * local[..., 1] + boxes[:, None, 0]
    inside[..., 1] = sin * local[..., 0] + cos * local[..., 1] + boxes[:, None, 1]
    inside[..., 2] = local[..., 2] + boxes[:, None, 2]
    around = rng.uniform((-30, -30, -2), (60, 30, -1.9), (10 * count, 3))
    xyz = np.concatenate([inside.reshape(-1, 3), around])
    return np.column_stack([xyz, rng.uniform(0, 1, len(xyz))]).astype(np.float32)


def write_frame(folder: Path, id: str, seed: int, labelled: bool = True) -> None:
    rng = np.random.default_rng(seed)
    boxes = np.array(list(BOXES.values()))
    boxes[:, :2] += rng.uniform(-1, 1, (len(boxes), 2)).round(2)
    for name in ("velodyne", "calib", *(["label_2"] if labelled else [])):
        (folder / name).mkdir(parents=True, exist_ok=True)
    points_on(boxes, rng).tofile(folder / "velodyne" / f"{id}.bin")
    write_calibration(folder / "calib" / f"{id}.txt", calibration())
    if labelled:
        write_objects(folder / "label_2" / f"{id}.txt", label_rows(list(BOXES), boxes))


@pytest.fixture
def kitti_root(tmp_path: Path) -> Path:
    """Seven training frames (Car, Pedestrian, Van and DontCare in each), three for val, one for test."""
    root = tmp_path / "kitti"
    ids = [f"{n:06d}" for n in range(11)]
    for seed, id in enumerate(ids):
        testing = id == ids[-1]
        write_frame(root / ("testing" if testing else "training"), id, seed, labelled=not testing)
    (root / "ImageSets").mkdir()
    for split, part in (("train", ids[:7]), ("val", ids[7:10]), ("test", ids[10:])):
        (root / "ImageSets" / f"{split}.txt").write_text("".join(f"{id}\n" for id in part))
    return root


@pytest.fixture
def real_root(shared: Callable[[str], Path], tmp_path: Path) -> Path:
    """Real frames; the folder around them may be written, they may not."""
    (tmp_path / "training").symlink_to(shared("kitti_real") / "training")
    return tmp_path


@pytest.fixture
def camera() -> Calibration:
    """The calibration of every frame of ``kitti_root``."""
    return calibration()


@pytest.fixture
def scene() -> Frame:
    """A frame with a Car, a Pedestrian and a Van, 60 points in each, and 600 on the ground."""
    boxes = np.array(list(BOXES.values()))
    points = points_on(boxes, np.random.default_rng(5))
    return Frame("000042", points, boxes.astype(np.float32), np.array(list(BOXES)), calibration=calibration())
