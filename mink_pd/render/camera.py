"""The camera of a picture, and the projection of points into it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    eye: position (3,) [m] in the LiDAR frame.
    forward, up: directions (3,) in the LiDAR frame.
    fov: vertical angle of view [degrees].
    near, far: depths [m]; only what lies between them is drawn.
    """

    eye: np.ndarray
    forward: np.ndarray
    up: np.ndarray
    fov: float
    near: float = 0.5
    far: float = 500.0

    def axes(self) -> np.ndarray:
        """Rotation (3, 3) from the LiDAR frame to the camera frame; its rows are right, up, forward."""
        forward = self.forward / np.linalg.norm(self.forward)
        right = np.cross(forward, self.up)
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(right, forward), forward])

    def project(self, points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Points (P, 3) -> pixels (P, 2) from the upper left corner of a picture of ``size`` (width, height), and
        depths (P,) [m]. Pixels are meaningless where the depth is not positive."""
        local = (np.asarray(points, dtype=np.float64) - self.eye) @ self.axes().T  # (P, 3) right, up, forward
        depth = np.where(np.abs(local[:, 2]) < 1e-9, 1e-9, local[:, 2])
        focal = size[1] / 2 / np.tan(np.radians(self.fov) / 2)  # [px]
        pixels = np.stack(
            [size[0] / 2 + focal * local[:, 0] / depth, size[1] / 2 - focal * local[:, 1] / depth], axis=-1
        )
        return pixels, local[:, 2]


def fit_camera(
    targets: np.ndarray, size: tuple[int, int], elevation: float, azimuth: float = 0.0, fov: float = 30.0
) -> Camera:
    """The nearest camera that sees all ``targets`` (P, 3) in a picture of ``size`` (width, height).

    It looks forward along x, turned to the left by ``azimuth`` and down by ``elevation`` [degrees].
    """
    down, turn = np.radians(elevation), np.radians(azimuth)
    forward = np.array([np.cos(down) * np.cos(turn), np.cos(down) * np.sin(turn), -np.sin(down)])
    up = np.array([np.sin(down) * np.cos(turn), np.sin(down) * np.sin(turn), np.cos(down)])
    axes = Camera(np.zeros(3), forward, up, fov).axes()
    right, high, depth = axes @ np.asarray(targets, dtype=np.float64).T  # each (P,)

    # A target is in view if |across - eye_across| <= slope (depth - eye_depth). For each axis this bounds the eye from
    # two sides; the bounds meet at the nearest possible depth.
    slope_high = np.tan(np.radians(fov) / 2)
    slope_right = slope_high * size[0] / size[1]
    eye_depth, centre = np.inf, []
    for across, slope in ((right, slope_right), (high, slope_high)):
        lowest, highest = (across + slope * depth).min(), (across - slope * depth).max()
        eye_depth = min(eye_depth, (lowest - highest) / (2 * slope))
        centre.append((lowest + highest) / 2)
    eye = np.array([*centre, eye_depth]) @ axes
    nearest, farthest = depth.min() - eye_depth, depth.max() - eye_depth
    return Camera(eye, forward, up, fov, near=max(0.5, 0.25 * nearest), far=4.0 * farthest + 100.0)
