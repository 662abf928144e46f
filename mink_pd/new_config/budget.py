"""Detector and schedule for each compute budget."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Budget:
    """A detector and its schedule."""

    hardware: str  # that it is meant for
    detector: str  # its name in DETECTORS
    voxel: tuple[float, float | None]  # edge length along x and y, and along z (None: pillars) [m]
    cells: int  # stride of the last stage in voxels; the range is a multiple of it
    model: dict[str, Any]  # further settings of the detector
    steps: int  # of a training; the number of epochs follows from it
    epochs: tuple[int, int]  # lowest and highest number of epochs
    batch_size: int
    learning_rate: float
    workers: int


BUDGETS = {
    "small": Budget(
        hardware="a laptop or two CPU cores",
        detector="pointpillars",
        voxel=(0.25, None),
        cells=8,
        model={"pillar_channels": 32, "channels": [32, 64, 128], "layers": [1, 2, 2], "neck_channels": 64},
        steps=1000,
        epochs=(10, 40),
        batch_size=2,
        learning_rate=0.008,
        workers=0,
    ),
    "medium": Budget(
        hardware="a workstation of 16 cores, or a GPU",
        detector="pointpillars",
        voxel=(0.16, None),
        cells=8,
        model={"pillar_channels": 64, "channels": [64, 128, 256], "layers": [3, 5, 5], "neck_channels": 128},
        steps=20_000,
        epochs=(20, 80),
        batch_size=4,
        learning_rate=0.003,
        workers=2,
    ),
    "large": Budget(
        hardware="a GPU",
        detector="second",
        voxel=(0.05, 0.1),
        cells=16,
        model={"encoder_channels": [16, 32, 64, 64, 128], "channels": [128, 256], "neck_channels": 256},
        steps=60_000,
        epochs=(40, 80),
        batch_size=4,
        learning_rate=0.003,
        workers=4,
    ),
}
