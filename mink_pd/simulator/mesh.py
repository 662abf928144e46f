"""Triangle meshes with a surface per triangle, and the few solids that everything is built from."""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from math import hypot

import numpy as np

from mink_pd.simulator.draws import Rng


class Surface(IntEnum):
    """How a surface answers a laser pulse; the numbers are ``sensor.RESPONSES``."""

    MATT = 0
    PAINT = 1
    GLASS = 2
    FOLIAGE = 3
    ROAD = 4


@dataclass
class Mesh:
    """vertices float64 (V, 3) [m]; triangles int64 (T, 3); surface int8 (T,); reflectance float32 (T,)."""

    vertices: np.ndarray
    triangles: np.ndarray
    surface: np.ndarray
    reflectance: np.ndarray

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> "Mesh":
        """The mesh turned about its own z axis, then shifted."""
        return Mesh(place(self.vertices, x, y, z, yaw), self.triangles, self.surface, self.reflectance)

    def fitted(self, length: float, width: float, height: float) -> "Mesh":
        """The mesh stretched to this size, its bounding box centred over the origin and standing on z = 0."""
        low, high = self.vertices.min(0), self.vertices.max(0)
        unit = (self.vertices - low) / (high - low) - (0.5, 0.5, 0.0)
        return Mesh(unit * (length, width, height), self.triangles, self.surface, self.reflectance)


def place(vertices: np.ndarray, x: float, y: float, z: float, yaw: float) -> np.ndarray:
    """(V, 3) turned about the z axis, then shifted."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    return vertices @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]]) + (x, y, z)


def merge(*meshes: Mesh) -> Mesh:
    """One mesh of several."""
    first = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, first, strict=True)]),
        np.concatenate([mesh.surface for mesh in meshes]),
        np.concatenate([mesh.reflectance for mesh in meshes]),
    )


def loft(rings: np.ndarray, surface: Surface, reflectance: float) -> Mesh:
    """A closed solid through rings of corners: rings (S, K, 3), K corners each, with a lid at both ends."""
    triangles = _loft_triangles(*rings.shape[:2])
    return _plain(rings.reshape(-1, 3), triangles, surface, reflectance)


@lru_cache(maxsize=64)
def _loft_triangles(count: int, corners: int) -> np.ndarray:
    """int64 (T, 3): the sides between ``count`` rings of ``corners`` corners, and the two lids."""
    ring, corner = np.divmod(np.arange((count - 1) * corners), corners)
    a, b = ring * corners + corner, ring * corners + (corner + 1) % corners
    c, d = a + corners, b + corners
    fan = np.stack([np.zeros(corners - 2, int), np.arange(1, corners - 1), np.arange(2, corners)], 1)
    last = (count - 1) * corners
    return np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1), fan, fan + last])


def box(
    low: tuple[float, float, float],
    high: tuple[float, float, float],
    reflectance: float,
    surface: Surface = Surface.MATT,
) -> Mesh:
    """A box between two corners."""
    return frustum(
        (low[0], high[0], low[1], high[1]),
        (low[0], high[0], low[1], high[1]),
        low[2],
        high[2],
        reflectance,
        surface,
    )


def frustum(
    bottom: tuple[float, float, float, float],
    top: tuple[float, float, float, float],
    low: float,
    high: float,
    reflectance: float,
    surface: Surface = Surface.MATT,
) -> Mesh:
    """A solid between two rectangles (x from, x to, y from, y to), one at z = low, one at z = high."""
    rings = [
        [(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)] for (x0, x1, y0, y1), z in ((bottom, low), (top, high))
    ]
    return loft(np.array(rings), surface, reflectance)


def tube(
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radius: tuple[float, float],
    reflectance: float,
    sides: int = 6,
    surface: Surface = Surface.MATT,
) -> Mesh:
    """A straight, tapering tube: a limb, a bar, a wheel (short and wide)."""
    x, y, z = (b - a for a, b in zip(start, end, strict=True))
    flat, length = hypot(x, y), hypot(x, y, z)
    # Two directions across the tube: one level, one at right angles to it and to the axis.
    u = np.array([-y / flat, x / flat, 0.0] if flat > 1e-9 else [1.0, 0.0, 0.0])
    v = np.array([-x * z / flat, -y * z / flat, flat] if flat > 1e-9 else [0.0, length, 0.0]) / length
    around = _circle(sides) @ np.array([u, v])  # (K, 3)
    rings = np.array([start, end])[:, None] + np.array(radius)[:, None, None] * around  # (2, K, 3)
    return loft(rings, surface, reflectance)


def column(
    heights: list[float],
    radii: list[tuple[float, float]],
    reflectance: float,
    sides: int = 8,
    surface: Surface = Surface.MATT,
) -> Mesh:
    """Ellipses (radius along x, along y) stacked on the z axis: a torso, a head, a trunk."""
    circle = _circle(sides)
    rings = np.empty((len(heights), sides, 3))
    rings[..., :2] = circle * np.asarray(radii)[:, None, :]  # (S, K, 2)
    rings[..., 2] = np.asarray(heights)[:, None]
    return loft(rings, surface, reflectance)


def blob(
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
    reflectance: float,
    surface: Surface = Surface.MATT,
    rough: float = 0.0,
    rng: Rng | None = None,
    sides: int = 8,
) -> Mesh:
    """An ellipsoid, its surface roughened by a share of its radius: a head, a bush, a crown."""
    polar = np.linspace(0.1, np.pi - 0.1, max(sides - 2, 4))
    mesh = column(list(-np.cos(polar)), [(s, s) for s in np.sin(polar)], reflectance, sides, surface)
    if rng is not None:
        mesh.vertices *= 1 + rough * rng.uniform(-1, 1, (len(mesh.vertices), 1))
    mesh.vertices = mesh.vertices * radii + centre
    return mesh


def hoop(centre: tuple[float, float, float], radius: float, thickness: float, reflectance: float) -> Mesh:
    """An upright ring in the x-z plane: the wheel of a bicycle, open between the spokes."""
    sides = 12
    circle = _circle(sides)
    outer, inner = circle * radius, circle * (radius - 2 * thickness)
    half = np.full(sides, thickness)
    loops = [(outer, -half), (outer, half), (inner, half), (inner, -half)]
    rings = np.stack([np.stack([c[:, 0], y, c[:, 1]], 1) for c, y in loops], 1)  # (K, 4, 3)
    rings = np.concatenate([rings, rings[:1]])  # closed
    mesh = loft(rings, Surface.MATT, reflectance)
    mesh.vertices = mesh.vertices + centre
    return mesh


def _plain(vertices: np.ndarray, triangles: np.ndarray, surface: Surface, reflectance: float) -> Mesh:
    surfaces, reflectances = np.empty(len(triangles), np.int8), np.empty(len(triangles), np.float32)
    surfaces.fill(surface)
    reflectances.fill(reflectance)
    return Mesh(vertices, triangles, surfaces, reflectances)


@lru_cache(maxsize=16)
def _circle(sides: int) -> np.ndarray:
    angle = np.arange(sides) * (2 * np.pi / sides)
    return np.stack([np.cos(angle), np.sin(angle)], 1)  # (K, 2)
