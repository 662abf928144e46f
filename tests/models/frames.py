"""Small batches for tests of detectors."""

import numpy as np
import torch

from mink_pd.config import Config
from mink_pd.config_models import AnchorDetectorConfig, PointPillarsConfig, SecondConfig
from mink_pd.data.batch import Batch
from mink_pd.data.frame import Frame

RANGE = (0.0, -3.2, -3.0, 6.4, 3.2, 1.0)


def pointpillars(**model: object) -> Config:
    return _config(PointPillarsConfig, {"voxel_size": (0.2, 0.2, 4.0), "pillar_channels": 8, "channels": [8, 12, 16],
                                        "layers": [1, 1, 1], "neck_channels": 8} | model)  # fmt: skip


def second(**model: object) -> Config:
    return _config(SecondConfig, {"voxel_size": (0.05, 0.05, 0.1), "encoder_channels": [4, 6, 8, 8, 10],
                                  "channels": [8, 12], "layers": [1, 1], "neck_channels": 8} | model)  # fmt: skip


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
