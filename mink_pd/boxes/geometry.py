"""Corners of boxes and points inside them.

A box is x, y, z of the centre, l, w, h [m], yaw [rad] about +z.
"""

import numpy as np
from numpy.typing import ArrayLike

from mink_pd.jit import njit


def as_rows(values: ArrayLike, columns: int) -> np.ndarray:
    """``values`` as C-contiguous float64 (B, columns); an empty sequence becomes (0, columns).

    Raises ValueError when the shape is another one.
    """
    rows = np.ascontiguousarray(values, dtype=np.float64)
    if rows.size == 0:
        return rows.reshape(0, columns)
    if rows.ndim != 2 or rows.shape[1] != columns:
        raise ValueError(f"expected rows of {columns} numbers, got an array of shape {rows.shape}")
    return rows


def wrap_angle(angle: np.ndarray | float) -> np.ndarray:
    """Angles [rad] wrapped to [-pi, pi), any shape, float64."""
    wrapped = np.mod(np.asarray(angle, dtype=np.float64) + np.pi, 2 * np.pi) - np.pi
    # The modulus of a tiny negative number rounds up to 2 pi, which would give +pi.
    return np.where(wrapped >= np.pi, -np.pi, wrapped)


def bev_corners(boxes: ArrayLike) -> np.ndarray:
    """Corners of the boxes (B, 7) from above: float64 (B, 4, 2), counter-clockwise from the front left."""
    rows = as_rows(boxes, 7)
    along = rows[:, 3:4] / 2 * np.array([1, -1, -1, 1])  # (B, 4)
    across = rows[:, 4:5] / 2 * np.array([1, 1, -1, -1])  # (B, 4)
    cos, sin = np.cos(rows[:, 6:7]), np.sin(rows[:, 6:7])
    x = rows[:, 0:1] + along * cos - across * sin
    y = rows[:, 1:2] + along * sin + across * cos
    return np.stack([x, y], axis=-1)  # (B, 4, 2)


def corners(boxes: ArrayLike) -> np.ndarray:
    """Corners of the boxes (B, 7): float64 (B, 8, 3); first the bottom four in the order of
    :func:`bev_corners`, then the top four in the same order."""
    rows = as_rows(boxes, 7)
    face = bev_corners(rows)
    result = np.empty((len(rows), 8, 3))
    result[:, :4, :2] = result[:, 4:, :2] = face
    result[:, :4, 2] = (rows[:, 2] - rows[:, 5] / 2)[:, None]
    result[:, 4:, 2] = (rows[:, 2] + rows[:, 5] / 2)[:, None]
    return result


def points_in_boxes(points: np.ndarray, boxes: ArrayLike) -> np.ndarray:
    """Which of the points (P, 3 or more columns) lie inside which of the boxes (B, 7): bool (B, P).

    The faces belong to the box.
    """
    box, point = pairs_in_boxes(points, boxes)
    inside = np.zeros((len(as_rows(boxes, 7)), len(points)), dtype=bool)
    inside[box, point] = True
    return inside


def pairs_in_boxes(points: np.ndarray, boxes: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The N pairs of a box (B, 7) and a point (P, 3 or more columns) inside it: rows of boxes and of points, int64 (N,)
    each, sorted by box, then point. The faces belong to the box.

    What :func:`points_in_boxes` says, for many boxes and points: a (B, P) matrix is nearly all empty.
    """
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] < 3:
        raise ValueError(f"expected points of at least 3 columns, got an array of shape {points.shape}")
    rows = as_rows(boxes, 7)
    if not len(points) or not len(rows):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return _pairs_in_boxes(points, rows)


_STRIPS = 512  # across x, which points are sorted into, so that a box looks at those near it only


@njit(nogil=True)
def _pairs_in_boxes(points: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
