"""One frame of any data set: points, boxes and their origin."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from mink_pd.data.kitti.calibration import Calibration
from mink_pd.data.objects import Objects


@dataclass
class Frame:
    """A point cloud and its labels in the LiDAR frame: x forward, y left, z up (nuScenes: y forward, x right)."""

    id: str
    # float32 (P, 4 or more): x, y, z [m], intensity [0..1] and the data set's further columns
    points: np.ndarray
    # float32 (B, 7): centre x, y, z, l, w, h [m], yaw [rad] counter-clockwise about +z
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 7), np.float32))
    # (B,) class name of each box, as in the label file
    names: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype="<U16"))
    # float32 (B, 2): x and y [m/s] over ground, nan where unknown; None: the data set has none
    velocities: np.ndarray | None = None
    calibration: Calibration | None = None  # of LiDAR and camera; None: no camera
    image_size: tuple[int, int] | None = None  # width, height [px]
    objects: Objects | None = None  # label row of each box; None after augmentation has moved the boxes
    dont_care: Objects | None = None  # label rows of regions without labels, which have only an image box
    dropped: int = 0  # number of points left out: NaN, infinite, at the origin, or on the own vehicle
    seen: np.ndarray | None = None  # bool (P,), points that the student sees and not only its teacher; None: all
    # Whether all objects are labelled. Otherwise boxes, if any, come from a detector or were pasted, and the rest of
    # the frame is unknown.
    labelled: bool = True
    # (4, 4), from the coordinates of the cloud's file to those of points and boxes; None: they are the same
    to_lidar: np.ndarray | None = None
    scores: np.ndarray | None = None  # (B,) of a detector's boxes, inf for labelled ones; None: all are labelled


class Frames(Protocol):
    """Frames by index; ``ids`` are their names."""

    ids: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...

    def paths(self, index: int, /) -> list[Path]:
        """The files of a frame if they are known, the cloud first. With them a change is noticed without reading the
        frame."""
        ...
