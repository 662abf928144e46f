"""A tiny data set in KITTI's layout: two cars on a plane."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mink_pd.boxes.camera import camera_to_lidar
from mink_pd.data.kitti.calibration import Calibration, write_calibration
from mink_pd.data.kitti.images import IMAGE_SIZE
from mink_pd.data.kitti.labels import write_objects
from mink_pd.data.kitti.projection import clip_boxes, project_boxes
from mink_pd.data.objects import Objects

CALIBRATION = Calibration(
    p2=np.array([[721.5, 0, 609.6, 0], [0, 721.5, 172.9, 0], [0, 0, 1, 0]]),
    r0_rect=np.eye(3),
    velo_to_cam=np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]]),
)


def write_frame(folder: Path, frame: str) -> None:
    """A ground plane and two cars as clusters of points, one facing ahead, one to the left."""
    rng = np.random.default_rng(int(frame))
    ground = rng.uniform([3, -12, -1.75, 0], [30, 12, -1.65, 1], (2000, 4))
    place = np.stack([rng.uniform(8, 25, 2), np.array([-5, 5]) + rng.uniform(-2, 2, 2)], axis=1)
    cars = [rng.uniform([x - 2, y - 0.8, -1.6, 0], [x + 2, y + 0.8, -0.2, 1], (150, 4)) for x, y in place]
    np.concatenate([ground, *cars]).astype(np.float32).tofile(folder / "velodyne" / f"{frame}.bin")
    write_calibration(folder / "calib" / f"{frame}.txt", CALIBRATION)
    location = np.stack([-place[:, 1], np.full(2, 1.7), place[:, 0]], axis=1)
    zero, dimensions = np.zeros(2), np.tile([1.5, 1.6, 4.0], (2, 1))
    boxes = camera_to_lidar(location, dimensions, zero - np.pi / 2, CALIBRATION.camera_from_lidar)
    bbox = clip_boxes(project_boxes(boxes, CALIBRATION), IMAGE_SIZE)
    names = np.array(["Car", "Car"])
    objects = Objects(names, zero, zero.astype(int), zero, bbox, dimensions, location, zero - np.pi / 2)
    write_objects(folder / "label_2" / f"{frame}.txt", objects)


def write_data(root: Path, train: Sequence[str], val: Sequence[str]) -> None:
    """Frames of these ids, and the splits ``train`` and ``val``."""
    for folder in ("training/velodyne", "training/calib", "training/label_2", "ImageSets"):
        (root / folder).mkdir(parents=True)
    for frame in (*train, *val):
        write_frame(root / "training", frame)
    (root / "ImageSets" / "train.txt").write_text("\n".join(train))
    (root / "ImageSets" / "val.txt").write_text("\n".join(val))


def settings(root: Path, runs: Path) -> dict:
    """A configuration that trains in seconds."""
    small = {"pillar_channels": 16, "channels": [16, 16, 32], "layers": [1, 1, 1], "neck_channels": 16}
    return {
        "runs": str(runs),
        "data": {"root": str(root), "range": [0, -12.8, -3, 32, 12.8, 1], "workers": 0},
        "model": {"voxel_size": [0.4, 0.4, 4.0], **small, "nms": {"score": 0.01}},
        "train": {"epochs": 2, "batch_size": 2, "validate_every": 1, "threads": 1, "accelerator": "cpu"},
        "distill": {"pointdistiller": {"rows": 16, "neighbours": 4}},
    }
