"""Points inside boxes, compiled by numba."""

import numpy as np

from mink_pd.jit import njit

_STRIPS = 512  # across x, which points are sorted into, so that a box looks at those near it only


@njit(nogil=True)
def pairs_inside(points: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As ``geometry.pairs_in_boxes``, of boxes float64 (B, 7) and at least one point."""
    first, order, low, step = _sort_into_strips(points)
    near = np.empty((len(points), 3))  # in that order: a strip is read from end to end
    for k in range(len(points)):
        for axis in range(3):
            near[k, axis] = points[order[k], axis]
    box, point = np.empty(len(points), dtype=np.int64), np.empty(len(points), dtype=np.int64)
    found = 0
    for b in range(len(boxes)):
        x, y, z, length, width, height, yaw = boxes[b]
        cos, sin = np.cos(yaw), np.sin(yaw)
        radius = np.hypot(length, width) / 2 * (1 + 1e-9)  # rounding must not reject a point on a corner
        begin = found
        left, right = _strip(x - radius, low, step), _strip(x + radius, low, step)
        for k in range(first[left], first[right + 1]):
            dx, dy = near[k, 0] - x, near[k, 1] - y
            # A square around the box throws out nearly all points before any rotation.
            if abs(dx) > radius or abs(dy) > radius or abs(near[k, 2] - z) > height / 2:
                continue
            if abs(dx * cos + dy * sin) <= length / 2 and abs(dy * cos - dx * sin) <= width / 2:
                if found == len(point):
                    box, point = _longer(box), _longer(point)
                box[found], point[found] = b, order[k]
                found += 1
        point[begin:found].sort()
    return box[:found].copy(), point[:found].copy()


@njit(nogil=True)
def _sort_into_strips(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Where each strip begins in the order of points (strips + 1,), that order (P,), and where the strips begin along
    x and how wide they are [m]."""
    low, high = np.inf, -np.inf
    for p in range(len(points)):
        if np.isfinite(points[p, 0]):
            low, high = min(low, float(points[p, 0])), max(high, float(points[p, 0]))
    step = (high - low) / _STRIPS if high > low else 1.0
    strip, first = np.empty(len(points), dtype=np.int64), np.zeros(_STRIPS + 1, dtype=np.int64)
    for p in range(len(points)):
        strip[p] = _strip(float(points[p, 0]), low, step)
        first[strip[p] + 1] += 1
    first = np.cumsum(first)
    slot, order = first[:-1].copy(), np.empty(len(points), dtype=np.int64)
    for p in range(len(points)):
        order[slot[strip[p]]] = p
        slot[strip[p]] += 1
    return first, order, low, step


@njit(nogil=True)
def _strip(x: float, low: float, step: float) -> int:
    """The strip of x, the outermost one beyond them: it never falls as x grows."""
    share = (x - low) / step
    if not share > 0:  # NaN too
        return 0
    return int(min(share, _STRIPS - 1.0))


@njit(nogil=True)
def _longer(values: np.ndarray) -> np.ndarray:
    result = np.empty(2 * len(values), values.dtype)
    result[: len(values)] = values
    return result
