"""A street scene: the ground, what stands on it, and where everything is at a given time."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from mink_pd.simulator.ground import Ground
from mink_pd.simulator.mesh import Mesh, merge, place
from mink_pd.simulator.rig import HDL64E


@dataclass
class Thing:
    """One solid in the scene.

    name: a KITTI class, or the kind of clutter. mesh: in its own frame (faces +x, stands on z = 0).
    size: l, w, h of its label or footprint [m]. x, y, yaw: its pose at time 0. speed: ahead [m/s].
    """

    name: str
    mesh: Mesh
    size: tuple[float, float, float]
    x: float
    y: float
    yaw: float
    speed: float = 0.0
    labelled: bool = False

    def at(self, time: float) -> tuple[float, float, float]:
        """x, y, yaw at a time [s]."""
        way = self.speed * time
        return self.x + way * np.cos(self.yaw), self.y + way * np.sin(self.yaw), self.yaw


@dataclass
class Snapshot:
    """The scene at one time, as one mesh in the LiDAR frame.

    owner int64 (T,): the row of the thing a triangle belongs to, -1 for the ground.
    boxes float64 (N, 7): the upright box of every thing, row i for thing i.
    """

    mesh: Mesh
    owner: np.ndarray
    boxes: np.ndarray
    names: np.ndarray
    labelled: np.ndarray


@dataclass
class Scene:
    """Ground and things; all in one world frame whose origin is the ground under the LiDAR at time 0."""

    ground: Ground
    grid: tuple[np.ndarray, np.ndarray]  # x (I,), y (J,) of the ground's mesh [m]
    things: list[Thing] = field(default_factory=list)

    def snapshot(self, time: float = 0.0, pose: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Snapshot:
        """The scene seen from the LiDAR above pose x, y, yaw; things rest on the ground."""
        meshes, boxes = [self.ground.mesh(*self.grid)], np.empty((len(self.things), 7))
        poses = np.array([thing.at(time) for thing in self.things]).reshape(-1, 3)
        heights = self.ground.height(poses[:, 0], poses[:, 1])
        for row, (thing, (x, y, yaw), z) in enumerate(zip(self.things, poses, heights, strict=True)):
            meshes.append(thing.mesh.moved(x, y, z, yaw))
            boxes[row] = (x, y, z + thing.size[2] / 2, *thing.size, yaw)
        owner = np.repeat(np.arange(-1, len(self.things)), [len(mesh.triangles) for mesh in meshes])
        world = merge(*meshes)
        sensor = (pose[0], pose[1], self.sensor_height(pose))
        local = replace(world, vertices=place(world.vertices - sensor, 0, 0, 0, -pose[2]))
        boxes[:, :3] = place(boxes[:, :3] - sensor, 0, 0, 0, -pose[2])
        boxes[:, 6] -= pose[2]
        names = np.array([thing.name for thing in self.things], dtype="<U16")
        labelled = np.array([thing.labelled for thing in self.things], dtype=bool)
        return Snapshot(local, owner, boxes, names, labelled)

    def sensor_height(self, pose: tuple[float, float, float]) -> float:
        """Height of KITTI's LiDAR above the world's origin when the car stands at x, y, yaw [m]."""
        return float(self.ground.height(np.array(pose[0]), np.array(pose[1]))) + HDL64E.height


_SIGNS = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])  # of a rectangle's corners, in turn


class Footprints:
    """The rectangles taken so far, seen from above; a new one may come no nearer than ``gap`` [m]."""

    def __init__(self, gap: float = 0.2) -> None:
        self.gap = gap
        self._corners: list[np.ndarray] = []
        self._circles: list[tuple[float, float, float]] = []  # x, y, radius around each

    def take(self, x: float, y: float, length: float, width: float, yaw: float) -> bool:
        """Take the rectangle if it is free; whether it was."""
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
    """Whether a rectangle (4, 2) overlaps rectangles (R, 4, 2): bool (R,), by the separating axis theorem."""
    axes = np.concatenate([np.broadcast_to(_axes(one[None]), (len(others), 2, 2)), _axes(others)], 1)  # (R, 4, 2)
    a = axes @ one.T  # (R, 4 axes, 4 corners)
    b = axes @ others.transpose(0, 2, 1)
    apart = (a.max(2) <= b.min(2)) | (b.max(2) <= a.min(2))
    return ~apart.any(1)


def _axes(corners: np.ndarray) -> np.ndarray:
    return np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 1]], 1)  # (R, 2, 2)
