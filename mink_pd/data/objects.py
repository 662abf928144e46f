"""Rows of a KITTI label or detection file, as arrays. Fields follow the object benchmark's readme."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Objects:
    """B label rows, float64, in the camera frame exactly as the file has them.

    names (B,) str; truncated (B,) [0..1]; occluded (B,) int; alpha (B,) [rad]; bbox (B, 4) x1, y1, x2, y2 [px];
    dimensions (B, 3) h, w, l [m]; location (B, 3) x, y, z of the bottom face's centre [m]; rotation_y (B,) [rad];
    score (B,) for detections, None for labels.
    """

    names: np.ndarray
    truncated: np.ndarray
    occluded: np.ndarray
    alpha: np.ndarray
    bbox: np.ndarray
    dimensions: np.ndarray
    location: np.ndarray
    rotation_y: np.ndarray
    score: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: np.ndarray | slice) -> "Objects":
        """The chosen rows (index array, mask or slice)."""
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
