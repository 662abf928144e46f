"""Thinning a cloud as if the LiDAR had fewer beams (LiDAR Distillation, Wei et al., ECCV 2022)."""

from dataclasses import replace
from functools import cache

import numpy as np

from mink_pd.config.data import BeamsConfig
from mink_pd.config.sensor import SensorConfig, load_sensor
from mink_pd.data.frame import Frame


def drop_beams(frame: Frame, config: BeamsConfig, rng: np.random.Generator) -> Frame:
    """The frame with the points of a random set of beams; which share of them is drawn from ``config.keep``.

    Raises ConfigError for a sensor file that cannot be read.
    """
    sensor = sensor_of(config.sensor)
    beams = len(sensor.elevations())
    kept = np.zeros(beams, dtype=bool)
    kept[rng.permutation(beams)[: max(1, round(rng.uniform(*config.keep) * beams))]] = True
    return replace(frame, points=frame.points[kept[beam_of(frame.points, sensor)]])


@cache
def sensor_of(name: str) -> SensorConfig:
    """The sensor of a file or of that name, read once. Raises ConfigError."""
    return load_sensor(name)


def beam_of(points: np.ndarray, sensor: SensorConfig) -> np.ndarray:
    """The beam that each point (P, 3 or more) of the LiDAR frame came from: int64 (P,), the sensor's numbering.

    It is the one whose elevation is closest to the point's, seen from that beam's laser: a turn about z, a mirror image
    and, but for the lasers' height, a scale leave it the same.
    """
    elevations, origins = sensor.elevations(), sensor.origins()
    level = np.hypot(points[:, 0], points[:, 1])
    best, error = np.zeros(len(points), np.int64), np.full(len(points), np.inf)
    for origin in np.unique(origins):
        block = np.flatnonzero(origins == origin)
        block = block[np.argsort(elevations[block])]
        angle = np.arctan2(points[:, 2] - origin, level)  # (P,) [rad]
        middles = (elevations[block][1:] + elevations[block][:-1]) / 2
        nearest = block[np.searchsorted(middles, angle)]
        apart = np.abs(elevations[nearest] - angle)
        closer = apart < error
        best[closer], error[closer] = nearest[closer], apart[closer]
    return best
