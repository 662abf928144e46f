"""The LiDAR of nuScenes, 32 beams at 20 Hz, on its car: mounting, rays and returned points.

Beams, firings per turn and mounting are those of a real keyframe. A turn takes no time here. The seven lowest beams,
which hit the car's own roof, are omitted.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from mink_pd.simulator.cast import Caster
from mink_pd.simulator.draws import Rng
from mink_pd.simulator.moving_scene import Scene
from mink_pd.simulator.sensor import MAX_RANGE, echo

RINGS = 32
ROOF_RINGS = 7  # number of the lowest beams that hit the roof
FIRINGS = 1084  # per turn
PERIOD = 0.05  # [s]

# LIDAR_TOP in the frame of the car (rear axle, x forward, y left, z up): y forward, x right, z up, slightly tilted.
TRANSLATION = (0.944, 0.0, 1.840)  # [m]
ROTATION = Rotation.from_euler("zyx", (-90.0, 0.4, -0.6), degrees=True)


def ego_from_lidar() -> np.ndarray:
    """Transform (4, 4) from the LiDAR frame to the car's frame."""
    return _matrix(ROTATION.as_matrix(), TRANSLATION)


def world_from_ego(scene: Scene, pose: tuple[float, float, float]) -> np.ndarray:
    """Transform (4, 4) from the car's frame to the world frame. The car tilts with the ground below its wheels."""
    x, y, yaw = pose
    ahead, left = np.array([np.cos(yaw), np.sin(yaw)]), np.array([-np.sin(yaw), np.cos(yaw)])
    height = scene.ground.height
    wheels = np.array([x, y]) + np.array([3.0 * ahead, 0 * ahead, 0.8 * left, -0.8 * left])  # (4, 2)
    front, rear, port, starboard = height(wheels[:, 0], wheels[:, 1])
    forward = np.array([*ahead, (front - rear) / 3.0])
    sideways = np.array([*left, (port - starboard) / 1.6])
    up = np.cross(forward, sideways)
    axes = [forward / np.linalg.norm(forward), np.cross(up, forward), up / np.linalg.norm(up)]
    axes[1] /= np.linalg.norm(axes[1])
    return _matrix(np.stack(axes, 1), (x, y, rear))


def _matrix(rotation: np.ndarray, translation: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def directions(start: float) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors float32 (R, 3) of the rays in the LiDAR frame, and their rings float32 (R,).

    Rays are ordered by firing. The turn is clockwise and begins at ``start`` [rad].
    """
    azimuth = start - np.arange(FIRINGS)[:, None] * (2 * np.pi / FIRINGS)  # (firings, 1)
    ring = np.arange(ROOF_RINGS, RINGS)
    elevation = np.radians(-30.67 + 4 / 3 * ring)[None]  # (1, rings)
    level = np.cos(elevation)
    rays = np.stack(np.broadcast_arrays(level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)), -1)
    return rays.reshape(-1, 3).astype(np.float32), np.tile(ring, FIRINGS).astype(np.float32)


class Lidar:
    """A LiDAR in a scene."""

    def __init__(self, scene: Scene) -> None:
        self.caster = Caster(scene)

    def scan(self, time: float, world_from_lidar: np.ndarray, rng: Rng) -> np.ndarray:
        """Returned points float32 (P, 5): x, y, z [m, LiDAR frame], intensity [0..255], ring."""
        rays, ring = directions(rng.uniform(-np.pi, np.pi))
        origin = np.broadcast_to(world_from_lidar[:3, 3], rays.shape)
        cast = np.concatenate([origin, rays @ world_from_lidar[:3, :3].T], 1).astype(np.float32)  # (R, 6)
        found = self.caster.cast(time, cast)
        hit = found.distance < MAX_RANGE
        measured, intensity, kept = echo(rng, *found.select(hit))
        points = np.column_stack([rays[hit] * measured[:, None], np.round(255 * intensity), ring[hit]])
        return points[kept].astype(np.float32)
