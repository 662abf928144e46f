"""Projection of points and boxes from the LiDAR frame into the camera's image."""

import numpy as np

from mink_pd.boxes.camera import lidar_to_camera
from mink_pd.boxes.geometry import corners, wrap_angle
from mink_pd.data.kitti.calibration import Calibration
from mink_pd.data.objects import Objects

_NEAR = 0.1  # smallest depth that is projected [m]
# Pairs of corners (of mink_pd.boxes.geometry.corners) that are joined by an edge of the box.
_EDGES = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]])


def in_camera_view(points: np.ndarray, calibration: Calibration, image_size: tuple[int, int]) -> np.ndarray:
    """Mask (P,) of the points (P, 3 or more) in front of the camera that project into the image.

    image_size: width, height [px].
    """
    matrix = calibration.p2 @ calibration.camera_from_lidar  # (3, 4) LiDAR frame -> image
    image = points[:, :3] @ matrix[:, :3].T + matrix[:, 3]  # (P, 3) u * depth, v * depth, depth
    depth = image[:, 2]
    inside = (depth > 0) & (image[:, :2] >= 0).all(axis=1)
    return inside & (image[:, 0] < image_size[0] * depth) & (image[:, 1] < image_size[1] * depth)


def project_boxes(boxes: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Image boxes (B, 4) x1, y1, x2, y2 [px] around the projected boxes (B, 7), not clipped to the image.

    Only the part of a box in front of the camera is projected; a box entirely behind it gives NaN.
    """
    camera = calibration.lidar_to_camera(corners(boxes).reshape(-1, 3)).reshape(-1, 8, 3)  # (B, 8, 3)
    start, end = camera[:, _EDGES[:, 0]], camera[:, _EDGES[:, 1]]  # (B, 12, 3)
    z0, z1 = start[..., 2], end[..., 2]
    crosses = (z0 < _NEAR) != (z1 < _NEAR)  # (B, 12) edges through the near plane, which are cut there
    share = np.divide(_NEAR - z0, z1 - z0, out=np.zeros_like(z0), where=crosses)
    cut = start + share[..., None] * (end - start)
    candidates = np.concatenate([camera, cut], axis=1)  # (B, 20, 3)
    valid = np.concatenate([camera[..., 2] >= _NEAR, crosses], axis=1)  # (B, 20)
    candidates[~valid] = (0.0, 0.0, 1.0)  # any point in front of the camera; they are excluded below
    pixels = calibration.project(candidates.reshape(-1, 3))[0].reshape(*valid.shape, 2)  # (B, 20, 2)
    low = np.where(valid[..., None], pixels, np.inf).min(axis=1)
    high = np.where(valid[..., None], pixels, -np.inf).max(axis=1)
    result = np.concatenate([low, high], axis=1)  # (B, 4)
    result[~valid.any(axis=1)] = np.nan
    return result


def clip_boxes(bbox: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Image boxes (B, 4) clipped to the pixels 0 to width - 1 and 0 to height - 1, as in KITTI's labels."""
    width, height = image_size
    return np.clip(bbox, 0, np.array([width - 1, height - 1, width - 1, height - 1], dtype=np.float64))


def detections_to_objects(
    boxes: np.ndarray,
    names: np.ndarray,
    scores: np.ndarray,
    calibration: Calibration,
    image_size: tuple[int, int],
    unseen: bool = False,
) -> Objects:
    """Detections in the LiDAR frame as rows of a KITTI detection file.

    boxes: (B, 7).
    names: (B,).
    scores: (B,).
    image_size: width, height [px].
    unseen: keep detections outside the image, with an image box of zeros, for data without a camera. Otherwise they are
    dropped, because the benchmark cannot count them.
    The image box encloses the eight projected corners and is clipped to the image. alpha follows from rotation_y and
    the viewing angle. truncated and occluded are -1 (unknown).
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 7)
    bbox = clip_boxes(project_boxes(boxes, calibration), image_size)
    seen = (bbox[:, 2] > bbox[:, 0]) & (bbox[:, 3] > bbox[:, 1])  # False for NaN
    if unseen:
        bbox[~seen], seen = 0.0, np.ones(len(boxes), dtype=bool)
    location, dimensions, rotation_y = lidar_to_camera(boxes[seen], calibration.camera_from_lidar)
    return Objects(
        names=np.asarray(names)[seen],
        truncated=np.full(len(location), -1.0),
        occluded=np.full(len(location), -1, dtype=np.int64),
        alpha=observation_angle(location, rotation_y),
        bbox=bbox[seen],
        dimensions=dimensions,
        location=location,
        rotation_y=rotation_y,
        score=np.asarray(scores, dtype=np.float64)[seen],
    )


def observation_angle(location: np.ndarray, rotation_y: np.ndarray) -> np.ndarray:
    """KITTI's alpha (B,) [rad] in [-pi, pi): the heading relative to the ray to location (B, 3)."""
    return wrap_angle(rotation_y - np.arctan2(location[:, 0], location[:, 2]))
