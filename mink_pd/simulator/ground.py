"""The ground with its slope, long undulations and small bumps, and the road on it."""

from dataclasses import dataclass

import numpy as np

from mink_pd.simulator.draws import Rng
from mink_pd.simulator.mesh import Mesh, Surface


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
class Ground:
    """A height field: a slope and W waves."""

    slope: np.ndarray  # (2,) along x and y
    vectors: np.ndarray  # (W, 2) wave vectors [rad/m]
    amplitudes: np.ndarray  # (W,) [m]
    phases: np.ndarray  # (W,) [rad]
    road: Road
    road_edges: tuple[float, float]  # right and left edge [m to the left of the road's middle]
    reflectance: tuple[float, float]  # of the road, and of the ground beside it

    def height(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Heights [m] at points x, y of any shape; 0 at the origin."""
        places = np.stack([x, y], -1)
        waves = np.sin(places @ self.vectors.T + self.phases) - np.sin(self.phases)
        return places @ self.slope + waves @ self.amplitudes

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


def random_ground(rng: Rng, road: Road, road_edges: tuple[float, float]) -> Ground:
    """A slope of up to about 4 %, undulations of decimetres over tens of metres, bumps of a centimetre."""
    length = np.concatenate([rng.uniform(25, 80, 3), rng.uniform(5, 12, 2)])
    direction = rng.uniform(0, 2 * np.pi, 5)
    amplitude = np.concatenate([rng.uniform(0.03, 0.13, 3), rng.uniform(0.005, 0.02, 2)])
    return Ground(
        slope=rng.normal(0, 0.01, 2),
        vectors=(2 * np.pi / length)[:, None] * np.stack([np.cos(direction), np.sin(direction)], 1),
        amplitudes=amplitude,
        phases=rng.uniform(0, 2 * np.pi, 5),
        road=road,
        road_edges=road_edges,
        reflectance=(rng.uniform(0.22, 0.4), rng.uniform(0.28, 0.45)),
    )
