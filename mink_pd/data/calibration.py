"""Calibration between LiDAR and camera, as KITTI's calib files give it."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Calibration:
    """Matrices of one KITTI calib file, float64.

    p2: (3, 4) projection of the left colour camera, rectified camera frame -> pixels.
    r0_rect: (3, 3) rectifying rotation. velo_to_cam: (3, 4) LiDAR -> unrectified camera 0.
    """

    p2: np.ndarray
    r0_rect: np.ndarray
    velo_to_cam: np.ndarray

    @property
    def camera_from_lidar(self) -> np.ndarray:
        """(4, 4) LiDAR -> rectified camera frame."""
        tr, rect = np.eye(4), np.eye(4)
        tr[:3] = self.velo_to_cam
        rect[:3, :3] = self.r0_rect
        return rect @ tr

    def lidar_to_camera(self, points: np.ndarray) -> np.ndarray:
        """(P, 3) LiDAR frame -> (P, 3) rectified camera frame."""
        transform = self.camera_from_lidar
        return points @ transform[:3, :3].T + transform[:3, 3]

    def camera_to_lidar(self, points: np.ndarray) -> np.ndarray:
        """(P, 3) rectified camera frame -> (P, 3) LiDAR frame."""
        transform = np.linalg.inv(self.camera_from_lidar)
        return points @ transform[:3, :3].T + transform[:3, 3]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(P, 3) rectified camera frame -> pixels (P, 2) and depth (P,) along the optical axis [m]."""
        image = points @ self.p2[:, :3].T + self.p2[:, 3]
        return image[:, :2] / image[:, 2:3], image[:, 2]
