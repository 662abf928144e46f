"""A street scene: the ground, the things on it, and their poses over time."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from mink_pd.simulator.ground import Ground
from mink_pd.simulator.mesh import Mesh, merge, transform
from mink_pd.simulator.rig import HDL64E


@dataclass
class Thing:
    """One solid in the scene."""

    name: str  # a class, or the kind of clutter
    mesh: Mesh  # in its own frame: faces +x, stands on z = 0
    size: tuple[float, float, float]  # l, w, h of its label or footprint [m]
    x: float  # x, y, yaw: pose at time 0
    y: float
    yaw: float
    speed: float = 0.0  # straight ahead [m/s]
    labelled: bool = False

    def at(self, time: float) -> tuple[float, float, float]:
        """x, y, yaw at a time [s]."""
        distance = self.speed * time
        return self.x + distance * np.cos(self.yaw), self.y + distance * np.sin(self.yaw), self.yaw


@dataclass
class Snapshot:
    """The scene at one time, as one mesh in the LiDAR frame."""

    mesh: Mesh
    owner: np.ndarray  # (T,) int64, the number of each triangle's thing; -1: ground
    boxes: np.ndarray  # (N, 7) float64, the upright box of each thing
    names: np.ndarray  # (N,)
    labelled: np.ndarray  # (N,) bool


@dataclass
class Scene:
    """Ground and things in one world frame. Its origin is the ground below the LiDAR at time 0."""

    ground: Ground
    grid: tuple[np.ndarray, np.ndarray]  # x (I,), y (J,) of the ground's mesh [m]
    things: list[Thing] = field(default_factory=list)

    def snapshot(self, time: float = 0.0, pose: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Snapshot:
        """The scene in the frame of a LiDAR on a car at x, y, yaw. Things stand on the ground."""
        meshes, boxes = [self.ground.mesh(*self.grid)], np.empty((len(self.things), 7))
        poses = np.array([thing.at(time) for thing in self.things]).reshape(-1, 3)
        heights = self.ground.height(poses[:, 0], poses[:, 1])
        for row, (thing, (x, y, yaw), z) in enumerate(zip(self.things, poses, heights, strict=True)):
            meshes.append(thing.mesh.moved(x, y, z, yaw))
            boxes[row] = (x, y, z + thing.size[2] / 2, *thing.size, yaw)
        owner = np.repeat(np.arange(-1, len(self.things)), [len(mesh.triangles) for mesh in meshes])
        world = merge(*meshes)
        sensor = (pose[0], pose[1], self.sensor_height(pose))
        local = replace(world, vertices=transform(world.vertices - sensor, 0, 0, 0, -pose[2]))
        boxes[:, :3] = transform(boxes[:, :3] - sensor, 0, 0, 0, -pose[2])
        boxes[:, 6] -= pose[2]
        names = np.array([thing.name for thing in self.things], dtype="<U16")
        labelled = np.array([thing.labelled for thing in self.things], dtype=bool)
        return Snapshot(local, owner, boxes, names, labelled)

    def sensor_height(self, pose: tuple[float, float, float]) -> float:
        """Height [m] of KITTI's LiDAR above the world's origin when the car is at x, y, yaw."""
        return float(self.ground.height(np.array(pose[0]), np.array(pose[1]))) + HDL64E.height


_SIGNS = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])  # of a rectangle's corners, counter-clockwise


class Footprints:
    """Occupied rectangles in the ground plane. Each keeps a distance of ``gap`` [m] to the others."""

    def __init__(self, gap: float = 0.2) -> None:
        self.gap = gap
        self._corners: list[np.ndarray] = []
        self._circles: list[tuple[float, float, float]] = []  # x, y, radius of each one's circumcircle

    def take(self, x: float, y: float, length: float, width: float, yaw: float) -> bool:
        """Occupy the rectangle if it is free, and return whether it was."""
        half = (length + self.gap) / 2, (width + self.gap) / 2
        cos, sin = math.cos(yaw), math.sin(yaw)
        corners = _SIGNS @ np.array([[half[0] * cos, half[0] * sin], [-half[1] * sin, half[1] * cos]]) + (
            x,
            y,
        )
        radius = math.hypot(*half)
        circles = enumerate(self._circles)
        near = [row for row, (cx, cy, r) in circles if (cx - x) ** 2 + (cy - y) ** 2 < (r + radius) ** 2]
        if near and overlap(corners, np.array([self._corners[row] for row in near])).any():
            return False
        self._corners.append(corners)
        self._circles.append((x, y, radius))
        return True


def overlap(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mask (R,) of the rectangles (R, 4, 2) that a rectangle (4, 2) overlaps, by the separating axis theorem."""
    axes = np.concatenate([np.broadcast_to(_axes(one[None]), (len(others), 2, 2)), _axes(others)], 1)  # (R, 4, 2)
    a = axes @ one.T  # (R, 4 axes, 4 corners)
    b = axes @ others.transpose(0, 2, 1)
    apart = (a.max(2) <= b.min(2)) | (b.max(2) <= a.min(2))
    return ~apart.any(1)


def _axes(corners: np.ndarray) -> np.ndarray:
    return np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 1]], 1)  # (R, 2, 2)
