"""Between KITTI's camera boxes and the project's boxes in the LiDAR frame.

KITTI (Geiger et al., CVPR 2012; the object benchmark's readme) gives dimensions h, w, l, the centre of the
bottom face in the rectified camera frame (x right, y down, z forward), and rotation_y about the camera's y.
"""

import numpy as np
from numpy.typing import ArrayLike

from mink_pd.boxes.geometry import as_rows, wrap_angle


def camera_to_lidar(
    location: ArrayLike, dimensions: ArrayLike, rotation_y: ArrayLike, camera_from_lidar: np.ndarray
) -> np.ndarray:
    """Boxes of a KITTI file as boxes in the LiDAR frame.

    location (B, 3) bottom centre [m]; dimensions (B, 3) h, w, l [m]; rotation_y (B,) [rad];
    camera_from_lidar (4, 4). Returns float64 (B, 7) with yaw = -rotation_y - pi / 2 in [-pi, pi).
    """
    size = as_rows(dimensions, 3)  # (B, 3) h, w, l
    centre = as_rows(location, 3).copy()
    centre[:, 1] -= size[:, 0] / 2  # y points down
    lidar_from_camera = np.linalg.inv(np.asarray(camera_from_lidar, dtype=np.float64))
    boxes = np.empty((len(size), 7))
    boxes[:, :3] = centre @ lidar_from_camera[:3, :3].T + lidar_from_camera[:3, 3]
    boxes[:, 3:6] = size[:, ::-1]
    boxes[:, 6] = wrap_angle(-np.asarray(rotation_y, dtype=np.float64) - np.pi / 2)
    return boxes


def lidar_to_camera(boxes: ArrayLike, camera_from_lidar: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inverse of :func:`camera_to_lidar`: location (B, 3), dimensions (B, 3) h, w, l, rotation_y
    (B,)."""
    rows = as_rows(boxes, 7)
    transform = np.asarray(camera_from_lidar, dtype=np.float64)
    location = rows[:, :3] @ transform[:3, :3].T + transform[:3, 3]
    location[:, 1] += rows[:, 5] / 2
    return location, rows[:, [5, 4, 3]], wrap_angle(-rows[:, 6] - np.pi / 2)
