"""Triangle meshes with a surface type per triangle, and the basic solids."""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from math import hypot

import numpy as np

from mink_pd.simulator.draws import Rng


class Surface(IntEnum):
    """Types of surfaces; ``optics.RESPONSES`` says how each reflects a laser pulse."""

    MATT = 0
    PAINT = 1
    GLASS = 2
    FOLIAGE = 3
    ROAD = 4


@dataclass
class Mesh:
    """V vertices and T triangles."""

    vertices: np.ndarray  # (V, 3) float64 [m]
    triangles: np.ndarray  # (T, 3) int64, rows of vertices
    surface: np.ndarray  # (T,) int8, numbers of Surface
    reflectance: np.ndarray  # (T,) float32

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> "Mesh":
        """The mesh rotated about its own z axis, then shifted."""
        return Mesh(transform(self.vertices, x, y, z, yaw), self.triangles, self.surface, self.reflectance)

    def fitted(self, length: float, width: float, height: float) -> "Mesh":
        """The mesh scaled to this size, with its bounding box centred over the origin and standing on z = 0."""
        low, high = self.vertices.min(0), self.vertices.max(0)
        unit = (self.vertices - low) / (high - low) - (0.5, 0.5, 0.0)
        return Mesh(unit * (length, width, height), self.triangles, self.surface, self.reflectance)


def transform(vertices: np.ndarray, x: float, y: float, z: float, yaw: float) -> np.ndarray:
    """Vertices (V, 3) rotated about the z axis, then shifted."""
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
    """A closed solid through S rings of K corners, rings (S, K, 3), with a lid at both ends."""
    triangles = _loft_triangles(*rings.shape[:2])
    return _plain(rings.reshape(-1, 3), triangles, surface, reflectance)


@lru_cache(maxsize=64)
def _loft_triangles(count: int, corners: int) -> np.ndarray:
    """Triangles int64 (T, 3) of the sides between ``count`` rings of ``corners`` corners, and of the two lids."""
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
    """A solid between two rectangles (lower x, upper x, lower y, upper y), one at z = low and one at z = high."""
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
    """A straight, tapering tube, for limbs, bars and, short and wide, wheels."""
    x, y, z = (b - a for a, b in zip(start, end, strict=True))
    flat, length = hypot(x, y), hypot(x, y, z)
    # Two directions across the tube: one horizontal, one perpendicular to it and to the axis.
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
    """Ellipses (radii along x and y) stacked on the z axis, for torsos, heads and trunks."""
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
    """An ellipsoid with a rough surface, for heads, bushes and crowns; the roughness is a share of the radius."""
    polar = np.linspace(0.1, np.pi - 0.1, max(sides - 2, 4))
    mesh = column(list(-np.cos(polar)), [(s, s) for s in np.sin(polar)], reflectance, sides, surface)
    if rng is not None:
        mesh.vertices *= 1 + rough * rng.uniform(-1, 1, (len(mesh.vertices), 1))
    mesh.vertices = mesh.vertices * radii + centre
    return mesh


def hoop(centre: tuple[float, float, float], radius: float, thickness: float, reflectance: float) -> Mesh:
    """An upright ring in the x-z plane, for the wheels of bicycles, which let rays through between the spokes."""
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
