"""Augmentation that simulates a LiDAR with fewer beams (LiDAR Distillation, Wei et al., ECCV 2022)."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from mink_pd.config import DataConfig
from mink_pd.config.data import BeamsConfig, FewerBeamsConfig
from mink_pd.config.sensor import SensorConfig, load_sensor
from mink_pd.data.frame import Frame
from mink_pd.errors import ConfigError


@dataclass(frozen=True)
class Thinning:
    """Which points of a training frame a detector sees, and which of them its teacher.

    beams: of every frame; dropped: at random; teacher: None where it sees the same points, else its own beams of every
    frame, which are None where it sees all points. Raises ConfigError for a sensor file that cannot be read, and for
    beams that the sensor, or the teacher, does not have.
    """

    beams: FewerBeamsConfig | None = None
    dropped: BeamsConfig | None = None
    teacher: tuple[FewerBeamsConfig | None] | None = None

    @classmethod
    def of(cls, config: DataConfig, teacher: DataConfig | None = None) -> "Thinning":
        """Of training frames. ``teacher``: the settings of one that sees other points."""
        dropped = config.augment.beams if config.augment.enabled else None
        return cls(config.beams, dropped, None if teacher is None else (teacher.beams,))

    def __post_init__(self) -> None:
        if self.dropped is not None:
            sensor_of(self.dropped.sensor)  # a file that cannot be read is found here, not in a worker
        own = np.ones(1, dtype=bool) if self.beams is None else kept_beams(self.beams)
        theirs = None if self.teacher is None else self.teacher[0]
        if theirs is None:
            return
        if self.beams is None or self.beams.sensor != theirs.sensor or (own & ~kept_beams(theirs)).any():
            student = "all" if self.beams is None else f"{self.beams.keep} of {self.beams.sensor}"
            raise ConfigError(
                f"'data.beams': the student sees {student} beams, not all of which are among the {theirs.keep} of"
                f" {theirs.sensor} that its teacher sees; keep a half or a quarter of the teacher's, or set"
                " distill.teacher_points=student"
            )

    def __call__(self, frame: Frame, rng: np.random.Generator) -> Frame:
        """The frame with the points that are seen; those that only the teacher sees are marked in ``seen``."""
        seen = np.ones(len(frame.points), dtype=bool)
        if self.beams is not None:
            seen &= in_beams(frame.points, self.beams)
        if self.dropped is not None:
            seen &= in_random_beams(frame.points, self.dropped, rng)
        if self.teacher is None:
            return frame if seen.all() else replace(frame, points=frame.points[seen])
        theirs = self.teacher[0]
        if theirs is None:
            return replace(frame, seen=seen)
        there = in_beams(frame.points, theirs)
        return replace(frame, points=frame.points[there], seen=seen[there])


def as_seen(frame: Frame) -> Frame:
    """The frame with only the points that the student sees."""
    return frame if frame.seen is None else replace(frame, points=frame.points[frame.seen], seen=None)


def in_beams(points: np.ndarray, config: FewerBeamsConfig) -> np.ndarray:
    """Which points (P, 3 or more) lie on the kept beams: bool (P,). Raises ConfigError as :func:`kept_beams`."""
    return kept_beams(config)[beam_of(points, sensor_of(config.sensor))]


def in_random_beams(points: np.ndarray, config: BeamsConfig, rng: np.random.Generator) -> np.ndarray:
    """Which points (P, 3 or more) lie on a random set of beams, whose share is drawn from ``config.keep``: bool (P,).

    Raises ConfigError for a sensor file that cannot be read.
    """
    sensor = sensor_of(config.sensor)
    beams = len(sensor.elevations())
    kept = np.zeros(beams, dtype=bool)
    kept[rng.permutation(beams)[: max(1, round(rng.uniform(*config.keep) * beams))]] = True
    return kept[beam_of(points, sensor)]


def kept_beams(config: FewerBeamsConfig) -> np.ndarray:
    """Which of the sensor's beams are kept, evenly spread from the highest one down: bool (L,).

    Half as many are every second one, and a half of those are among them. Raises ConfigError for a sensor file that
    cannot be read or has fewer beams.
    """
    elevations = sensor_of(config.sensor).elevations()
    beams = len(elevations)
    if config.keep > beams:
        raise ConfigError(f"'data.beams.keep': {config.keep}, but {config.sensor} has {beams} beams; keep fewer")

    kept = np.zeros(beams, dtype=bool)
    kept[np.argsort(-elevations, kind="stable")[np.arange(config.keep) * beams // config.keep]] = True
    return kept


@cache
def sensor_of(name: str) -> SensorConfig:
    """The sensor in a file or of a shipped name, read only once. Raises ConfigError."""
    return load_sensor(name)


def beam_of(points: np.ndarray, sensor: SensorConfig) -> np.ndarray:
    """The beam int64 (P,) of each point (P, 3 or more) in the LiDAR frame, in the sensor's numbering.

    It is the beam whose elevation is closest to that of the point, seen from the beam's laser. Rotation about z,
    mirroring and, apart from the lasers' height, scaling do not change it.
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
