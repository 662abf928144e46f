"""The range that a detector should see: where the objects are that it can find."""

from dataclasses import dataclass

import numpy as np

from mink_pd.data.survey import Survey

ENOUGH = 5  # points of an object that can be found; objects with fewer do not stretch the range
_TAIL = 0.005  # share of the objects that may lie beyond each end of an axis
_SQUARE = 0.5  # reach to the sides over reach ahead
_BEHIND = 0.5  # reach backwards over reach forwards, from which the range is the same in both directions
_STEP, _SPARE = 0.5, 0.3  # of z: bounds are multiples of the first; the second is left over boxes and under them [m]


@dataclass(frozen=True)
class Extent:
    """bounds: x, y, z from, x, y, z to [m]. all_around: the same backwards as forwards. inside: bool (B,), objects
    whose centre lies within, seen from above. furthest: distance of the furthest object with ENOUGH points [m]."""

    bounds: tuple[float, ...]
    all_around: bool
    inside: np.ndarray
    furthest: float

    @property
    def square(self) -> bool:
        """Whether it reaches to the sides about as far as ahead."""
        return self.bounds[4] > _SQUARE * self.bounds[3]


def find_extent(found: Survey, wanted: np.ndarray, unit: float) -> Extent:
    """The range for the objects ``wanted``, bool (B,), of which some hold ENOUGH points; else for all of them.

    unit: what x and y of the bounds are multiples of [m].
    """
    seen = wanted & (found.inside >= ENOUGH)
    boxes = found.boxes[seen if seen.any() else wanted]
    reach = np.linalg.norm(boxes[:, 3:5], axis=1) / 2  # half the diagonal: whatever the yaw, the box lies inside
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
