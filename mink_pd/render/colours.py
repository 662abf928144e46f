"""Colours that colour-blind readers can tell apart, and scales from numbers to colours.

All colours are sRGB in [0, 1].
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np

# The palette of Okabe and Ito, "Color Universal Design" (2008).
OKABE_ITO = {
    "orange": (0.902, 0.624, 0.0),
    "sky blue": (0.337, 0.706, 0.914),
    "bluish green": (0.0, 0.620, 0.451),
    "yellow": (0.941, 0.894, 0.259),
    "blue": (0.0, 0.447, 0.698),
    "vermillion": (0.835, 0.369, 0.0),
    "reddish purple": (0.800, 0.475, 0.655),
}
CLASSES = {  # of KITTI, nuScenes and similar data sets, for a dark background; similar classes have similar colours
    "car": OKABE_ITO["sky blue"],
    "truck": (0.42, 0.52, 1.0),
    "bus": (0.0, 0.72, 0.53),
    "trailer": (0.60, 0.88, 0.72),
    "construction_vehicle": OKABE_ITO["orange"],
    "pedestrian": (0.95, 0.42, 0.10),
    "motorcycle": OKABE_ITO["reddish purple"],
    "bicycle": (1.0, 0.74, 0.86),
    "traffic_cone": OKABE_ITO["yellow"],
    "barrier": (0.68, 0.60, 0.50),
}
BACKGROUND = (0.055, 0.071, 0.094)
RING = (0.20, 0.25, 0.31)
WHITE = (1.0, 1.0, 1.0)

_LOG_FROM = 20.0  # ratio of largest to smallest value above which the scale is logarithmic
_DARKEST = 0.12  # fraction of the colour map that is as dark as the background


def class_colours(names: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """A colour for each class: the one in :data:`CLASSES` for its name in lower case, else the next free colour of
    Okabe and Ito's palette. The palette repeats if there are more classes than colours."""
    known = {name: CLASSES[name.lower()] for name in names if name.lower() in CLASSES}
    free = itertools.cycle([colour for colour in OKABE_ITO.values() if colour not in known.values()])
    return {name: known[name] if name in known else next(free) for name in names}


@dataclass(frozen=True)
class Scale:
    """Maps numbers from ``low`` to ``high`` to [0, 1], linearly or (``log``) logarithmically."""

    low: float
    high: float
    log: bool

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """``values`` of any shape -> float64 of the same shape in [0, 1]; values outside the scale are clipped."""
        clipped = np.clip(np.asarray(values, dtype=np.float64), self.low, self.high)
        if self.log:
            return np.log(clipped / self.low) / np.log(self.high / self.low)
        return (clipped - self.low) / (self.high - self.low)

    def value(self, fraction: float) -> float:
        """The number at ``fraction`` of the scale: the inverse of calling it."""
        if self.log:
            return float(self.low * (self.high / self.low) ** fraction)
        return float(self.low + (self.high - self.low) * fraction)


def scale_of(values: np.ndarray) -> Scale:
    """A scale for ``values`` (>= 0), from the 5th to the 99.5th percentile of the positive ones. If they spread widely
    it is logarithmic and covers at most three decades."""
    positive = np.asarray(values, dtype=np.float64)
    positive = positive[np.isfinite(positive) & (positive > 0)]
    if len(positive) == 0:
        return Scale(0.0, 1.0, log=False)
    low, high = (float(v) for v in np.percentile(positive, [5, 99.5]))
    if high > _LOG_FROM * low:
        return Scale(max(low, high / 1000), high, log=True)
    return Scale(0.0, high, log=False)


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] -> sRGB (IEC 61966-2-1), any shape."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055)


def colour_map(fractions: np.ndarray, name: str = "inferno") -> np.ndarray:
    """Fractions (P,) in [0, 1] -> colours (P, 3) of a matplotlib colour map, without its darkest part."""
    return matplotlib.colormaps[name](_DARKEST + (1 - _DARKEST) * np.asarray(fractions))[..., :3]


def height_greys(points: np.ndarray) -> np.ndarray:
    """Greys (P, 3) for points (P, 3 or more) [m]: the higher the point, the lighter its grey."""
    if len(points) == 0:
        return np.zeros((0, 3))
    height = points[:, 2] - np.percentile(points[:, 2], 5)
    fraction = np.clip(height / 3.0, 0, 1)[:, None]  # 3 m: a van's roof
    return (1 - fraction) * np.array([[0.30, 0.35, 0.41]]) + fraction * np.array([[0.72, 0.77, 0.82]])
