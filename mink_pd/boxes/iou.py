"""Exact overlap of rotated rectangles and upright boxes, in float64.

One rectangle is moved into the frame of the other, where four axis-parallel lines clip it (Sutherland and
Hodgman, 1974). A comparison with a half length decides inside or outside, so that coinciding boxes, shared
edges and half turns are no special cases.
"""

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from mink_pd.boxes.geometry import as_rows

# Row of a rectangle for the kernels: x, y, l, w, cos yaw, sin yaw, radius of the circle around it, area.
_FIELDS = 8
# Corners that a clipped polygon may have: 8 by geometry. Rounding could make more, but never above 4, 6,
# 9, 13, 19, since each run of outside corners adds at most one; compiled code does not check bounds.
MAX_CORNERS = 19


def bev_intersection(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Areas [m^2] shared by the rectangles a (A, 5) and b (B, 5), rows x, y, l, w, yaw: float64 (A, B).

    A rectangle whose length or width is not positive shares nothing.
    """
    return _pairwise_intersection(prepare(as_rows(a, 5)), prepare(as_rows(b, 5)))


def bev_iou(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """IoU of the rectangles a (A, 5) and b (B, 5), rows x, y, l, w, yaw: float64 (A, B)."""
    first, second = prepare(as_rows(a, 5)), prepare(as_rows(b, 5))
    shared = _pairwise_intersection(first, second)
    return _over_union(shared, first[:, 7], second[:, 7])


def iou_3d(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Intersection over union of the volumes of the boxes a (A, 7) and b (B, 7): float64 (A, B)."""
    a, b = as_rows(a, 7), as_rows(b, 7)
    first, second = prepare(a[:, [0, 1, 3, 4, 6]]), prepare(b[:, [0, 1, 3, 4, 6]])
    top = np.minimum.outer(a[:, 2] + a[:, 5] / 2, b[:, 2] + b[:, 5] / 2)  # (A, B)
    bottom = np.maximum.outer(a[:, 2] - a[:, 5] / 2, b[:, 2] - b[:, 5] / 2)
    shared = _pairwise_intersection(first, second) * np.maximum(top - bottom, 0)
    return _over_union(shared, first[:, 7] * np.maximum(a[:, 5], 0), second[:, 7] * np.maximum(b[:, 5], 0))


def _over_union(shared: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """shared (A, B) over the union of sizes a (A,) and b (B,); 0 where nothing is shared."""
    union = np.add.outer(a, b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def prepare(rectangles: np.ndarray) -> np.ndarray:
    """Rows x, y, l, w, yaw (B, 5) as the kernels want them (B, 8): yaw's cosine and sine, radius and
    area."""
    rows = np.empty((len(rectangles), _FIELDS))
    rows[:, :2] = rectangles[:, :2]
    rows[:, 2:4] = np.maximum(rectangles[:, 2:4], 0)
    rows[:, 4], rows[:, 5] = np.cos(rectangles[:, 4]), np.sin(rectangles[:, 4])
    rows[:, 6] = np.hypot(rows[:, 2], rows[:, 3]) / 2
    rows[:, 7] = rows[:, 2] * rows[:, 3]
    return rows


@njit(cache=True)
def _pairwise_intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    shared = np.zeros((len(a), len(b)))
    polygon, clipped = np.empty((MAX_CORNERS, 2)), np.empty((MAX_CORNERS, 2))
    for i in range(len(a)):
        for j in range(len(b)):
            if may_touch(a, i, b, j):
                shared[i, j] = intersection(a[i], b[j], polygon, clipped)
    return shared


@njit(cache=True)
def first_free(tries: np.ndarray, rectangles: np.ndarray) -> np.ndarray:
    """Move rectangles one after the other, each to the first of its tries that overlaps no other one.

    tries (B, T, 8) and rectangles (B, 8) as :func:`prepare` makes them. Returns the try that each took, int64 (B,), -1
    where all overlap another rectangle, at its old or new place, and this one stays.
    """
    places, chosen = rectangles.copy(), np.full(len(rectangles), -1)
    polygon, clipped = np.empty((MAX_CORNERS, 2)), np.empty((MAX_CORNERS, 2))
    for b in range(len(rectangles)):
        for t in range(tries.shape[1]):
            free = True
            for other in range(len(places)):
                if other != b and may_touch(tries[b], t, places, other):
                    free &= not intersection(tries[b, t], places[other], polygon, clipped) > 0
            if free:
                chosen[b] = t
                places[b] = tries[b, t]
                break
    return chosen


@njit(cache=True)
def may_touch(a: np.ndarray, i: int, b: np.ndarray, j: int) -> bool:
    """Whether the circles around row i of a and row j of b, both prepared, meet: the cheap test before
    :func:`intersection`. (It takes whole arrays because making a view of a row costs ten times the test.)"""
    dx, dy, reach = a[i, 0] - b[j, 0], a[i, 1] - b[j, 1], a[i, 6] + b[j, 6]
    return dx * dx + dy * dy < reach * reach and a[i, 7] > 0 and b[j, 7] > 0


@njit(cache=True)
def intersection(a: np.ndarray, b: np.ndarray, polygon: np.ndarray, clipped: np.ndarray) -> float:
    """Area shared by two prepared rectangles; the (MAX_CORNERS, 2) arrays are room to work in."""
    dx, dy = a[0] - b[0], a[1] - b[1]
    x, y = dx * b[4] + dy * b[5], dy * b[4] - dx * b[5]  # centre of a in the frame of b
    cos, sin = a[4] * b[4] + a[5] * b[5], a[5] * b[4] - a[4] * b[5]  # its yaw there
    for k in range(4):
        along = a[2] / 2 if k == 0 or k == 3 else -a[2] / 2
        across = a[3] / 2 if k < 2 else -a[3] / 2
        polygon[k, 0] = x + along * cos - across * sin
        polygon[k, 1] = y + along * sin + across * cos
    count = _clip(polygon, 4, 0, 1.0, b[2] / 2, clipped)
    count = _clip(clipped, count, 0, -1.0, b[2] / 2, polygon)
    count = _clip(polygon, count, 1, 1.0, b[3] / 2, clipped)
    count = _clip(clipped, count, 1, -1.0, b[3] / 2, polygon)
    doubled = 0.0
    for k in range(count):
        n = (k + 1) % count
        doubled += polygon[k, 0] * polygon[n, 1] - polygon[n, 0] * polygon[k, 1]
    # Rounding must give neither a negative area nor more than either rectangle has.
    return max(0.0, min(doubled / 2, min(a[7], b[7])))


@njit(cache=True)
def _clip(polygon: np.ndarray, count: int, axis: int, sign: float, limit: float, result: np.ndarray) -> int:
    """Keep the part of the convex polygon where sign * coordinate <= limit; returns its number of
    corners."""
    kept, other = 0, 1 - axis
    k = count - 1
    there = sign * polygon[k, axis] - limit
    for n in range(count):
        here, there = there, sign * polygon[n, axis] - limit
        if (here < 0 and there > 0) or (here > 0 and there < 0):
            share = here / (here - there)
            result[kept, axis] = sign * limit
            result[kept, other] = polygon[k, other] + share * (polygon[n, other] - polygon[k, other])
            kept += 1
        if there <= 0:
            result[kept, axis], result[kept, other] = polygon[n, axis], polygon[n, other]
            kept += 1
        k = n
    return kept
