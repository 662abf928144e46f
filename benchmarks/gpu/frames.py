"""Labelled LiDAR frames made with NumPy alone, for machines without Open3D, which the simulator needs."""

import numpy as np

from benchmarks.inputs import SEED, Inputs
from mink_pd.data.frame import Frame

BEAMS, STEP = 64, 0.175  # beams of KITTI's sensor, and the angle between two firings [degrees]
ELEVATION = (2.0, -24.8)  # of the highest and the lowest beam [degrees]
VIEW = 40.5  # half of the camera's view [degrees]
GROUND, REACH, NOISE = (
    -1.73,
    70.0,
    0.02,
)  # height of the road in the sensor's frame, largest range, standard deviation of the range [m]
LOST = 0.35  # share of the rays whose return does not reach the sensor
SIZES = {"Car": (3.9, 1.6, 1.56), "Pedestrian": (0.8, 0.6, 1.73), "Cyclist": (1.76, 0.6, 1.73)}  # l, w, h [m]
COUNTS = {"Car": 8, "Pedestrian": 4, "Cyclist": 3}
WALLS = 6  # boxes that are not objects, 8 m long and 3 m high


class CastInputs(Inputs):
    """Frames of objects and walls on a plane. Each ray returns the first surface that it meets."""

    def _simulated(self, index: int) -> Frame:
        return cast_frame(index)


def cast_frame(index: int) -> Frame:
    """A frame in the camera's view: about 19,000 points (P, 4), boxes (B, 7) and their names."""
    rng = np.random.default_rng([SEED, index])
    names = np.repeat(list(COUNTS), list(COUNTS.values()))  # (B,)
    sizes = np.array([*(SIZES[name] for name in names), *[(8.0, 0.4, 3.0)] * WALLS])
    distance = rng.uniform(6, 60, len(sizes))
    angle = np.radians(rng.uniform(-VIEW, VIEW, len(sizes)))
    place = np.stack([distance * np.cos(angle), distance * np.sin(angle), GROUND + sizes[:, 2] / 2], axis=1)
    boxes = np.concatenate([place, sizes, rng.uniform(-np.pi, np.pi, (len(sizes), 1))], axis=1)
    rays = _rays()  # (R, 3)
    with np.errstate(divide="ignore"):
        ranges = np.where(rays[:, 2] < 0, GROUND / rays[:, 2], np.inf)
    for box in boxes:
        ranges = np.minimum(ranges, _entry(rays, box))
    hit = (ranges < REACH) & (rng.random(len(rays)) >= LOST)
    ranges = ranges[hit] + rng.normal(0, NOISE, hit.sum())
    points = np.concatenate([rays[hit] * ranges[:, None], rng.uniform(0, 1, (len(ranges), 1))], axis=1)
    objects = boxes[: len(names)]
    return Frame(f"{index:06d}", points.astype(np.float32), objects, names)


def _rays() -> np.ndarray:
    """Unit vectors (R, 3) of all beams in the camera's view."""
    elevation = np.radians(np.linspace(*ELEVATION, BEAMS))
    azimuth = np.radians(np.arange(-VIEW, VIEW, STEP))
    up, around = (x.ravel() for x in np.meshgrid(elevation, azimuth, indexing="ij"))
    return np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], axis=1)


def _entry(rays: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Where rays (R, 3) from the origin enter a box (7,): (R,) [m], infinity for those that miss it.

    In its own frame, a box lies between two planes per axis (Kay and Kajiya 1986).
    """
    cos, sin = np.cos(box[6]), np.sin(box[6])
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    origin, direction = -turn @ box[:3], rays @ turn.T
    with np.errstate(divide="ignore", invalid="ignore"):
        planes = np.stack([(side * box[3:6] / 2 - origin) / direction for side in (-1, 1)])  # (2, R, 3)
    enter, leave = planes.min(axis=0).max(axis=1), planes.max(axis=0).min(axis=1)
    return np.where((enter > 0) & (enter <= leave), enter, np.inf)
