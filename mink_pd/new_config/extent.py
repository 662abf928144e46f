"""The detection range: where the objects are that a detector can find."""

from dataclasses import dataclass

import numpy as np

from mink_pd.data.clouds.survey import Survey

ENOUGH = 5  # minimum points of an object that can be found; objects with fewer points do not extend the range
_TAIL = 0.005  # share of the objects that may lie beyond each end of an axis
_SQUARE = 0.5  # ratio of the reach to the sides and the reach ahead above which the range counts as square
_BEHIND = 0.5  # ratio of the reach backwards and forwards above which the range is the same in both directions
_STEP = 0.5  # the bounds of z are multiples of this [m]
_SPARE = 0.3  # margin above and below the boxes [m]


@dataclass(frozen=True)
class Extent:
    """A detection range and the objects in it."""

    bounds: tuple[float, ...]  # x, y, z from, x, y, z to [m]
    all_around: bool  # whether the range is the same backwards as forwards
    inside: np.ndarray  # bool (B,): objects whose centre lies in the range, seen from above
    furthest: float  # distance of the furthest object with ENOUGH points [m]

    @property
    def square(self) -> bool:
        """Whether the range reaches about as far to the sides as ahead."""
        return self.bounds[4] > _SQUARE * self.bounds[3]


def find_extent(found: Survey, wanted: np.ndarray, unit: float) -> Extent:
    """The range for the objects ``wanted``, bool (B,): for those with ENOUGH points, or for all if none has so many.

    unit: the bounds of x and y are multiples of this length [m].
    """
    seen = wanted & (found.inside >= ENOUGH)
    boxes = found.boxes[seen if seen.any() else wanted]
    reach = np.linalg.norm(boxes[:, 3:5], axis=1) / 2  # half the diagonal, so the box lies inside at any yaw
    low = np.quantile(boxes[:, :2] - reach[:, None], _TAIL, axis=0)
    high = np.quantile(boxes[:, :2] + reach[:, None], 1 - _TAIL, axis=0)
    bottom = np.quantile(boxes[:, 2] - boxes[:, 5] / 2, _TAIL) - _SPARE
    top = np.quantile(boxes[:, 2] + boxes[:, 5] / 2, 1 - _TAIL) + _SPARE
    side = max(-low[1], high[1])
    all_around = -low[0] > _BEHIND * high[0] and high[0] > _BEHIND * -low[0]
    ends = (max(-low[0], high[0]),) * 2 if all_around else (-min(low[0], 0.0), max(high[0], 0.0))
    back, front, side = (unit * max(np.ceil(end / unit - 1e-6), 0.0) for end in (*ends, max(side, unit)))
    z = _STEP * np.floor(bottom / _STEP), _STEP * np.ceil(top / _STEP)
    bounds = tuple(round(float(value), 4) + 0.0 for value in (-back, -side, z[0], front, side, z[1]))
    centres = found.boxes[:, :2]
    within = ((centres >= np.array(bounds[:2])) & (centres < np.array(bounds[3:5]))).all(axis=1)
    furthest = float(np.linalg.norm(boxes[:, :2], axis=1).max())
    return Extent(bounds, bool(all_around), within, furthest)
