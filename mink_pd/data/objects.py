"""Rows of a KITTI label or detection file as arrays, with the fields of the object benchmark's readme."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Objects:
    """B rows in float64 and in the camera frame, with exactly the values of the file."""

    names: np.ndarray  # (B,) str
    truncated: np.ndarray  # (B,) [0..1]
    occluded: np.ndarray  # (B,) int
    alpha: np.ndarray  # (B,) [rad]
    bbox: np.ndarray  # (B, 4) x1, y1, x2, y2 [px]
    dimensions: np.ndarray  # (B, 3) h, w, l [m]
    location: np.ndarray  # (B, 3) x, y, z of the bottom face's centre [m]
    rotation_y: np.ndarray  # (B,) [rad]
    score: np.ndarray | None = None  # (B,); None for labels

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: np.ndarray | slice) -> "Objects":
        """The rows of an index array, mask or slice."""
        score = None if self.score is None else self.score[rows]
        return Objects(
            self.names[rows],
            self.truncated[rows],
            self.occluded[rows],
            self.alpha[rows],
            self.bbox[rows],
            self.dimensions[rows],
            self.location[rows],
            self.rotation_y[rows],
            score,
        )
