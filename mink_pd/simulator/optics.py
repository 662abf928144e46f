"""How surfaces and lasers turn a pulse into an echo: what returns, and how bright it is reported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from mink_pd.simulator.mesh import Surface


class Response(NamedTuple):
    """How a surface reflects pulses."""

    exponent: float  # of the cosine of the incidence angle
    spread: float  # relative standard deviation of the intensity
    lost: float  # share of pulses lost at any range
    depth: float  # mean depth that a pulse enters before it returns [m]


RESPONSES: Mapping[Surface, Response] = MappingProxyType(
    {
        Surface.MATT: Response(0.3, 0.35, 0.01, 0.0),
        Surface.PAINT: Response(1.5, 0.6, 0.03, 0.0),  # mirror-like: little returns at an angle
        Surface.GLASS: Response(1.0, 0.5, 0.65, 0.3),  # most pulses pass; some return from the seats
        Surface.FOLIAGE: Response(0.1, 0.9, 0.12, 0.3),
        Surface.ROAD: Response(0.05, 0.14, 0.01, 0.0),
    }
)


@dataclass(frozen=True)
class Optics:
    """The echoes of all surfaces, and what is peculiar to the lasers of the sensor."""

    responses: Mapping[Surface, Response] = field(default_factory=lambda: RESPONSES)
    # Strength (reflectance x cosine x (reach / range)^2) of an echo that is registered in two of three cases.
    weak_signal: float = 0.015
    sharpness: float = 1.0  # exponent of an echo's strength: the larger, the more abruptly echoes vanish with range
    # Strength of an echo whose intensity is reported as 0 in one of two cases; None: every echo has its intensity.
    faint_signal: float | None = None
    weak_lasers: float = 0.0  # share of lasers that report a low intensity
    laser_bias: float = 0.0  # standard deviation of the constant range errors of the lasers [m]
    laser_tilt: float = 0.0  # the same of their elevations [rad]

    @cached_property
    def table(self) -> np.ndarray:
        """The responses (surfaces, 4), in the order of Surface."""
        return np.array([self.responses[surface] for surface in Surface])

    @property
    def has_peculiar_lasers(self) -> bool:
        """Whether the lasers differ from each other."""
        return max(self.weak_lasers, self.laser_bias, self.laser_tilt) > 0

    def lasers(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Factor on the intensity, error of the range [m] and of the elevation [rad] of each laser, (L,) each.

        They are the same in every frame, for it is one sensor.
        """
        rng = np.random.default_rng(64)
        bias, tilt = rng.normal(0, 1, count) * self.laser_bias, rng.normal(0, 1, count) * self.laser_tilt
        weak = rng.random(count) < self.weak_lasers
        return np.where(weak, rng.uniform(0.2, 0.6, count), 1.0), bias, tilt


OPTICS = Optics()
