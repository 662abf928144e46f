"""Corners of boxes and points inside them.

A box is x, y, z of the centre, l, w, h [m], yaw [rad] about +z.
"""

import numpy as np
from numpy.typing import ArrayLike


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
    from mink_pd.boxes.inside import pairs_inside  # needs numba, 0.15 s of imports that the engine does without

    return pairs_inside(points, rows)
