"""Small batches for tests of detectors."""

import numpy as np
import torch

from mink_pd.config import Config
from mink_pd.config.models import AnchorDetectorConfig, PointPillarsConfig, SecondConfig
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import Batch, collate

RANGE = (0.0, -3.2, -3.0, 6.4, 3.2, 1.0)


def pointpillars(**model: object) -> Config:
    return _config(PointPillarsConfig, {"voxel_size": (0.2, 0.2, 4.0), "pillar_channels": 8, "channels": [8, 12, 16],
                                        "layers": [1, 1, 1], "neck_channels": 8} | model)  # fmt: skip


def second(**model: object) -> Config:
    return _config(SecondConfig, {"voxel_size": (0.05, 0.05, 0.1), "encoder_channels": [4, 6, 8, 8, 10],
                                  "channels": [8, 12], "layers": [1, 1], "neck_channels": 8} | model)  # fmt: skip


CLASSES = ["car", "truck", "pedestrian"]


def nuscenes(bounds: tuple[float, ...] = (-3.2, -3.2, -3.0, 3.2, 3.2, 1.0), **model: object) -> Config:
    """A range all around, points of five columns, a feature pyramid, and anchors of any class with velocities."""
    shape = {"z": -1.3, "matched": 0.6, "unmatched": 0.3}
    anchors = {"long": {"size": (1.7, 0.6, 1.0), **shape}, "square": {"size": (0.8, 0.8, 1.0), **shape}}
    settings = {"voxel_size": (0.2, 0.2, 4.0), "pillar_channels": 8, "channels": [8, 12, 16], "layers": [1, 1, 1],
                "neck": "fpn", "neck_channels": 8, "anchors": anchors,
                "head": {"any_class": True, "scales": [1.0, 2.0, 4.0], "velocity": True}} | model  # fmt: skip
    data = {"kind": "nuscenes", "classes": CLASSES, "range": bounds}
    return Config.model_validate({"data": data, "model": settings})


def nuscenes_batch(*sizes: int, seed: int = 0) -> Batch:
    """Uniform points of five columns; in each frame a car that moves, and a pedestrian of unknown velocity."""
    random = np.random.default_rng(seed)
    low, high = [-3.2, -3.2, -3, 0, 0], [3.2, 3.2, 1, 1, 0.5]
    clouds = [random.uniform(low, high, (n, 5)).astype(np.float32) for n in sizes]
    boxes = np.array([[-1.0, 0.5, -1.0, 3.9, 1.6, 1.5, 0.3], [2.0, -2.0, -0.8, 0.8, 0.6, 1.7, 1.0]], np.float32)
    velocities = np.array([[4.0, 1.0], [np.nan, np.nan]], np.float32)
    names = np.array(["car", "pedestrian"])
    return collate([Frame(str(i), cloud, boxes, names, velocities) for i, cloud in enumerate(clouds)], CLASSES)


def _config(kind: type[AnchorDetectorConfig], settings: dict[str, object]) -> Config:
    result = Config(model=kind(**settings))  # type: ignore[arg-type]
    result.data.range = RANGE
    return result


def batch(*sizes: int, seed: int = 0) -> Batch:
    """Uniform points and two boxes, a car and a pedestrian, in each frame."""
    random = np.random.default_rng(seed)
    clouds = [random.uniform([0, -3.2, -3, 0], [6.4, 3.2, 1, 1], (n, 4)).astype(np.float32) for n in sizes]
    boxes = [torch.tensor([[3.0, 0.5, -1.0, 3.9, 1.6, 1.5, 0.3], [5.0, -2.0, -0.8, 0.8, 0.6, 1.7, 1.0]])] * len(sizes)
    return of_clouds(clouds, boxes, [torch.tensor([0, 1])] * len(sizes))


def of_clouds(clouds: list[np.ndarray], boxes: list[torch.Tensor], labels: list[torch.Tensor]) -> Batch:
    return Batch(
        torch.from_numpy(np.concatenate(clouds)),
        torch.repeat_interleave(torch.arange(len(clouds)), torch.tensor([len(c) for c in clouds])),
        boxes,
        labels,
        [Frame(str(i), cloud) for i, cloud in enumerate(clouds)],
    )


CENTER = {"voxel_size": (0.2, 0.2, 4.0), "pillar_channels": 8, "channels": [8, 12, 16], "layers": [1, 1, 1],
          "neck_channels": 8, "head": {"channels": 8}}  # fmt: skip


def centerpoint(**model: object) -> Config:
    """CenterPoint on pillars, for :func:`batch`."""
    settings = {"name": "centerpoint_pillars"} | CENTER | model
    return Config.model_validate({"data": {"range": RANGE}, "model": settings})


def centerpoint_nuscenes(**model: object) -> Config:
    """Velocities, two tasks that reorder the classes, and a neck at the second stage, for :func:`nuscenes_batch`."""
    settings = {"name": "centerpoint_pillars", "neck_stage": 2, "tasks": [["pedestrian"], ["truck", "car"]]} | CENTER
    settings |= {"head": {"channels": 8, "velocity": True}} | model
    data = {"kind": "nuscenes", "classes": CLASSES, "range": (-3.2, -3.2, -3.0, 3.2, 3.2, 1.0)}
    return Config.model_validate({"data": data, "model": settings})


def centerpoint_voxels(**model: object) -> Config:
    settings = {"name": "centerpoint_voxels", "encoder_channels": [4, 6, 8, 8, 10], "channels": [8, 12],
                "layers": [1, 1], "neck_channels": 8, "head": {"channels": 8}} | model  # fmt: skip
    return Config.model_validate({"data": {"range": RANGE}, "model": settings})
