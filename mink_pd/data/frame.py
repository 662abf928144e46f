"""One frame of any data set: points, boxes, and where they come from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from mink_pd.data.calibration import Calibration
from mink_pd.data.objects import Objects


@dataclass
class Frame:
    """A point cloud and its labels, all in the LiDAR frame (x forward, y left, z up; nuScenes' has y
    forward, x right).

    points: float32 (P, 4 or more), x, y, z [m], intensity [0..1] and what else the data set gives.
    boxes: float32 (B, 7), centre x, y, z, l, w, h [m], yaw [rad] counter-clockwise about +z.
    names: (B,) class name of each box, as in the label file.
    velocities: float32 (B, 2), x and y [m/s] over the ground, nan where unknown; None where the data set has none.
    objects: the label rows that the boxes come from, row i for box i; None once augmentation has moved them.
    dont_care: rows of regions without labels (image box only), kept apart.
    dropped: points of the file that were left out: NaN, infinite, at the origin, or on the own vehicle.
    seen: bool (P,), the points that the student sees, where there are others for its teacher; None: all of them.
    labelled: whether somebody has looked for objects. Else the boxes, if any, are a detector's or objects pasted in,
    and nothing is known of the rest of the frame.
    scores: (B,) of a detector's boxes, inf for labelled ones; None where all are labelled.
    """

    id: str
    points: np.ndarray
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 7), np.float32))
    names: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype="<U16"))
    velocities: np.ndarray | None = None
    calibration: Calibration | None = None
    image_size: tuple[int, int] | None = None  # width, height [px]
    objects: Objects | None = None
    dont_care: Objects | None = None
    dropped: int = 0
    seen: np.ndarray | None = None
    labelled: bool = True
    scores: np.ndarray | None = None


class Frames(Protocol):
    """Frames by index; ``ids`` are their names."""

    ids: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...

    def paths(self, index: int, /) -> list[Path]:
        """The files that a frame is read from, the cloud first, if they are known: whether they changed is known
        without reading the frame."""
        ...
