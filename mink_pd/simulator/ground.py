"""The ground with its slope, long undulations and small bumps, and the road on it."""

from dataclasses import dataclass

import numpy as np

from mink_pd.simulator.draws import Rng
from mink_pd.simulator.mesh import Mesh, Surface

VERGE = 4.0  # width over which the ground beside the road reaches its full height [m]


@dataclass
class Road:
    """A road of constant curvature through the origin, measured along it (s) and to its left (n) [m]."""

    heading: float  # at s = 0 [rad]
    curvature: float  # [1/m]

    def at(self, s: float, n: float) -> tuple[float, float, float]:
        """x, y and heading at s along the road and n to its left."""
        turned = self.curvature * s
        chord = s * np.sinc(turned / 2 / np.pi)  # arc -> chord, also at curvature 0
        direction = self.heading + turned / 2
        heading = self.heading + turned
        x = chord * np.cos(direction) - n * np.sin(heading)
        y = chord * np.sin(direction) + n * np.cos(heading)
        return float(x), float(y), float(heading)

    def across(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Distances [m] of points x, y of any shape to the left of the road's middle, accurate to a few percent within
        100 m."""
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        s, n = x * cos + y * sin, y * cos - x * sin
        return n - self.curvature * s**2 / 2


@dataclass
class Waves:
    """W sine waves of height."""

    vectors: np.ndarray  # (W, 2) wave vectors [rad/m]
    amplitudes: np.ndarray  # (W,) [m]
    phases: np.ndarray  # (W,) [rad]

    def height(self, places: np.ndarray) -> np.ndarray:
        """Heights [m] at places (..., 2); 0 at the origin."""
        return (np.sin(places @ self.vectors.T + self.phases) - np.sin(self.phases)) @ self.amplitudes


@dataclass
class Ground:
    """A height field: a slope and waves, and further waves beside the road."""

    slope: np.ndarray  # (2,) along x and y
    waves: Waves
    road: Road
    road_edges: tuple[float, float]  # right and left edge [m to the left of the road's middle]
    reflectance: tuple[float, float]  # of the road, and of the ground beside it
    verges: Waves | None = None  # beside the road

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Heights [m] at points x, y of any shape; 0 at the origin."""
        places = np.stack([x, y], -1)
        height = places @ self.slope + self.waves.height(places)
        if self.verges is not None:
            across, (right, left) = self.road.across(x, y), self.road_edges
            beyond = np.clip(np.maximum(across - left, right - across) / VERGE, 0, 1)
            height = height + beyond * self.verges.height(places)
        return height

    def mesh(self, x: np.ndarray, y: np.ndarray) -> Mesh:
        """The height field as triangles over the grid of x (I,) and y (J,)."""
        grid = np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2)
        vertices = np.column_stack([grid, self.height(grid[:, 0], grid[:, 1])])
        index = np.arange(len(grid)).reshape(len(x), len(y))
        a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]))
        triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
        middle = vertices[triangles].mean(1)
        across = self.road.across(middle[:, 0], middle[:, 1])
        on_road = (across > self.road_edges[0]) & (across < self.road_edges[1])
        reflectance = np.where(on_road, *self.reflectance).astype(np.float32)
        return Mesh(vertices, triangles, np.full(len(triangles), Surface.ROAD, np.int8), reflectance)


@dataclass(frozen=True)
class Relief:
    """How uneven and how bright the ground is. A LiDAR that is mounted aslant sees level ground as a slope."""

    slope: tuple[float, float] = (0.0, 0.0)  # mean along x and y
    slope_spread: tuple[float, float] = (0.01, 0.01)  # standard deviation between frames, likewise
    waves: tuple[float, float] = (0.03, 0.13)  # amplitude of the undulations over tens of metres [m]
    verges: tuple[float, float] | None = None  # amplitude of further waves beside the road [m]
    road: tuple[float, float] = (0.22, 0.4)  # reflectance
    beside: tuple[float, float] = (0.28, 0.45)


RELIEF = Relief()


def random_ground(rng: Rng, road: Road, road_edges: tuple[float, float], relief: Relief = RELIEF) -> Ground:
    """A slope of up to about 4 %, undulations of decimetres over tens of metres, bumps of a centimetre."""
    length = np.concatenate([rng.uniform(25, 80, 3), rng.uniform(5, 12, 2)])
    direction = rng.uniform(0, 2 * np.pi, 5)
    amplitude = np.concatenate([rng.uniform(*relief.waves, 3), rng.uniform(0.005, 0.02, 2)])
    slope = rng.normal(relief.slope, relief.slope_spread)
    waves = Waves(_vectors(length, direction), amplitude, rng.uniform(0, 2 * np.pi, 5))
    reflectance = rng.uniform(*relief.road), rng.uniform(*relief.beside)
    verges = None
    if relief.verges is not None:
        vectors = _vectors(rng.uniform(9, 25, 3), rng.uniform(0, 2 * np.pi, 3))
        verges = Waves(vectors, rng.uniform(*relief.verges, 3), rng.uniform(0, 2 * np.pi, 3))
    return Ground(slope, waves, road, road_edges, reflectance, verges)


def _vectors(length: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Wave vectors (W, 2) [rad/m] of wave lengths (W,) [m] and directions (W,) [rad]."""
    return (2 * np.pi / length)[:, None] * np.stack([np.cos(direction), np.sin(direction)], 1)
