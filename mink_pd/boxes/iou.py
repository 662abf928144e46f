"""Exact overlap of rotated rectangles and upright boxes, in float64.

By Green's theorem the area that rectangles a and b share is the integral of y dx once around a, with y held between the
long sides of b and x between its short ones, in the frame of b. Each edge of a gives its part in closed form, and no
part jumps where edges cross, coincide or turn parallel: touching, equal and contained boxes are no special cases, and
without branches the compiler takes several pairs at a time.
"""

import numpy as np
from numpy.typing import ArrayLike

from mink_pd.boxes.geometry import as_rows
from mink_pd.jit import njit

# What the kernels want of a rectangle, a row of an array each, so that many can be read at a time: x, y, l, w, cos yaw,
# sin yaw, radius of the circle around it, area.
_FIELDS = 8
_RADIUS, AREA = 6, 7
_TINY = 1e-200  # what is shorter has no direction: its reciprocal might overflow


def bev_intersection(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Areas [m^2] shared by the rectangles a (A, 5) and b (B, 5), rows x, y, l, w, yaw: float64 (A, B).

    A rectangle whose length or width is not positive shares nothing.
    """
    return _pairwise_intersection(prepare(as_rows(a, 5)), prepare(as_rows(b, 5)))


def bev_iou(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """IoU of the rectangles a (A, 5) and b (B, 5), rows x, y, l, w, yaw: float64 (A, B)."""
    first, second = prepare(as_rows(a, 5)), prepare(as_rows(b, 5))
    shared = _pairwise_intersection(first, second)
    return _over_union(shared, first[AREA], second[AREA])


def iou_3d(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Intersection over union of the volumes of the boxes a (A, 7) and b (B, 7): float64 (A, B)."""
    a, b = as_rows(a, 7), as_rows(b, 7)
    first, second = prepare(a[:, [0, 1, 3, 4, 6]]), prepare(b[:, [0, 1, 3, 4, 6]])
    top = np.minimum.outer(a[:, 2] + a[:, 5] / 2, b[:, 2] + b[:, 5] / 2)  # (A, B)
    bottom = np.maximum.outer(a[:, 2] - a[:, 5] / 2, b[:, 2] - b[:, 5] / 2)
    shared = _pairwise_intersection(first, second) * np.maximum(top - bottom, 0)
    return _over_union(shared, first[AREA] * np.maximum(a[:, 5], 0), second[AREA] * np.maximum(b[:, 5], 0))


def _over_union(shared: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """shared (A, B) over the union of sizes a (A,) and b (B,); 0 where nothing is shared."""
    union = np.add.outer(a, b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def prepare(rectangles: np.ndarray) -> np.ndarray:
    """Rectangles x, y, l, w, yaw (B, 5) as the kernels want them, a column each: float64 (8, B)."""
    columns = np.empty((_FIELDS, len(rectangles)))
    columns[:2] = rectangles[:, :2].T
    columns[2:4] = np.maximum(rectangles[:, 2:4].T, 0)
    columns[4], columns[5] = np.cos(rectangles[:, 4]), np.sin(rectangles[:, 4])
    columns[_RADIUS] = np.hypot(columns[2], columns[3]) / 2
    columns[AREA] = columns[2] * columns[3]
    return columns


@njit()
def _pairwise_intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    shared = np.zeros((a.shape[1], b.shape[1]))
    for i in range(a.shape[1]):
        rows = near(a, i, b, 0, b.shape[1])
        areas = intersections(a, i, b, rows)
        for k in range(len(rows)):
            shared[i, rows[k]] = areas[k]
    return shared


@njit()
def first_free(tries: np.ndarray, rectangles: np.ndarray) -> np.ndarray:
    """Move rectangles one after the other, each to the first of its tries that overlaps no other one.

    tries (8, B * T), those of a rectangle one after the other, and rectangles (8, B) as :func:`prepare` makes them.
    Returns the try that each took, int64 (B,), -1 where all overlap another rectangle, at its old or new position, and
    this one stays.
    """
    current, count = rectangles.copy(), rectangles.shape[1]
    chosen, each = np.full(count, -1), tries.shape[1] // max(count, 1)
    for b in range(count):
        for t in range(each):
            index = b * each + t
            rows = near(tries, index, current, 0, count)
            rows = rows[rows != b]
            if not np.any(intersections(tries, index, current, rows) > 0):
                chosen[b] = t
                current[:, b] = tries[:, index]
                break
    return chosen


@njit()
def near(a: np.ndarray, i: int, b: np.ndarray, first: int, last: int) -> np.ndarray:
    """Which of the columns first to last - 1 of b have circles around them that meet the one around column i of a, both
    prepared: int64, ascending. The others share nothing with it: the cheap test before :func:`intersections`."""
    rows, found = np.empty(last - first, np.int64), 0
    x, y, radius = a[0, i], a[1, i], a[_RADIUS, i]
    for j in range(first, last):
        dx, dy, reach = b[0, j] - x, b[1, j] - y, b[_RADIUS, j] + radius
        rows[found] = j  # written over by the next unless it counts: no branch to mispredict
        found += dx * dx + dy * dy < reach * reach
    return rows[:found]


@njit()
def intersections(a: np.ndarray, i: int, b: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Areas that column i of a shares with the columns ``rows`` (N,) of b, both prepared: float64 (N,)."""
    close = np.empty((_FIELDS, len(rows)))  # side by side, or the loop over them would not be vectorised
    for field in range(_FIELDS):
        for k in range(len(rows)):
            close[field, k] = b[field, rows[k]]
    areas = np.empty(len(rows))
    for k in range(len(rows)):
        areas[k] = _intersection(a, i, close, k)
    return areas


@njit(error_model="numpy", forceinline=True)
def _intersection(a: np.ndarray, i: int, b: np.ndarray, j: int) -> float:
    cos, sin = a[4, i] * b[4, j] + a[5, i] * b[5, j], a[5, i] * b[4, j] - a[4, i] * b[5, j]  # a's yaw seen from b
    along_x, along_y = a[2, i] / 2 * cos, a[2, i] / 2 * sin
    across_x, across_y = -a[3, i] / 2 * sin, a[3, i] / 2 * cos
    px, py, qx, qy = along_x + across_x, along_y + across_y, across_x - along_x, across_y - along_y  # and -p, -q

    # The sides of b, its axes as they are but around the centre of a: small numbers round less.
    dx, dy = b[0, j] - a[0, i], b[1, j] - a[1, i]
    x, y = dx * b[4, j] + dy * b[5, j], dy * b[4, j] - dx * b[5, j]
    left, right = x - b[2, j] / 2, x + b[2, j] / 2
    reach = max(abs(py), abs(qy))
    low, high = max(y - b[3, j] / 2, -reach), min(y + b[3, j] / 2, reach)

    pq, qp = _reciprocal(qx - px), _reciprocal(-px - qx)
    width_0, height_0 = _under_edge(px, py, qx, qy, pq, left, right, low, high)
    width_1, height_1 = _under_edge(qx, qy, -px, -py, qp, left, right, low, high)
    width_2, height_2 = _under_edge(-px, -py, -qx, -qy, -pq, left, right, low, high)
    width_3, height_3 = _under_edge(-qx, -qy, px, py, -qp, left, right, low, high)
    # The widths sum to 0, so heights may count from either side; where a lies beyond one, that one gives exactly 0.
    from_low = width_0 * (height_0 - low) + width_1 * (height_1 - low)
    from_low += width_2 * (height_2 - low) + width_3 * (height_3 - low)
    from_high = width_0 * (height_0 - high) + width_1 * (height_1 - high)
    from_high += width_2 * (height_2 - high) + width_3 * (height_3 - high)
    # Rounding must give neither a negative area nor more than either rectangle has.
    return max(0.0, min(min(from_low, from_high), min(a[AREA, i], b[AREA, j])))


@njit(error_model="numpy", forceinline=True)
def _reciprocal(value: float) -> float:
    return 1 / value if abs(value) > _TINY else 0.0


@njit(error_model="numpy", forceinline=True)
def _under_edge(
    x0: float, y0: float, x1: float, y1: float, per_x: float, left: float, right: float, low: float, high: float
) -> tuple[float, float]:
    """Of the edge from x0, y0 to x1, y1, per_x = 1 / (x1 - x0): how far it runs towards -x between left and right, and
    the mean there of its y, held between low and high."""
    begin, end = min(max(x0, left), right), min(max(x1, left), right)
    rise = (y1 - y0) * per_x
    y_begin, y_end = y0 + (begin - x0) * rise, y1 + (end - x1) * rise
    held_begin, held_end = min(max(y_begin, low), high), min(max(y_end, low), high)
    free = (held_end - held_begin) * _reciprocal(y_end - y_begin)  # the share of it between low and high
    beyond = (y_begin - held_begin) + (y_end - held_end)
    return begin - end, (held_begin + held_end + free * beyond) / 2
