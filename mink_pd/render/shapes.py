"""Boxes, markers and range rings as lines of a scene."""

import numpy as np

from mink_pd.boxes.geometry import as_rows, corners
from mink_pd.render.colours import RING
from mink_pd.render.scene import Colour, Lines

# Rows of boxes.geometry.corners: 0..3 around the bottom face, 4..7 around the top face in the same order.
_EDGES = np.array(
    [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)],
    dtype=np.int64,
)
RADII = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]  # of the range rings [m]
_DASH, _PERIOD = 0.45, 0.8  # [m]
_STANDING = 0.2  # speed below which an arrow would be too short to see [m/s]
_BARB = 2.0  # length of an arrow [m] above which its barbs stop growing


def box_edges(boxes: np.ndarray) -> np.ndarray:
    """Segments (15 B, 2, 3): for each box (B, 7) 12 edges, and 3 strokes of an arrow on its roof that points ahead."""
    rows = as_rows(boxes, 7)
    edges = corners(rows)[:, _EDGES]  # (B, 12, 2, 3)
    ahead = np.stack([np.cos(rows[:, 6]), np.sin(rows[:, 6]), np.zeros(len(rows))], axis=-1)  # (B, 3)
    left = np.stack([-ahead[:, 1], ahead[:, 0], ahead[:, 2]], axis=-1)  # (B, 3)
    quarter = ahead * rows[:, 3:4] / 4
    roof = rows[:, :3] + np.stack([0 * rows[:, 5], 0 * rows[:, 5], rows[:, 5] / 2], axis=-1)
    tip, barb, side = roof + 2 * quarter, roof + quarter, left * rows[:, 4:5] / 4
    arrow = np.stack([roof - quarter, tip, tip, barb + side, tip, barb - side], axis=1)  # (B, 6, 3)
    return np.concatenate([edges, arrow.reshape(-1, 3, 2, 3)], axis=1).reshape(-1, 2, 3)


def dashes(segments: np.ndarray) -> np.ndarray:
    """Segments (S, 2, 3) cut into dashes (D, 2, 3). Each segment starts and ends with a dash, which closes corners."""
    pieces = [np.zeros((0, 2, 3))]
    for start, end in segments:
        length = max(float(np.linalg.norm(end - start)), 1e-9)
        gaps = max(1, round((length - _DASH) / _PERIOD))
        begin = np.arange(gaps + 1) * max(length - _DASH, 0.0) / gaps  # (gaps + 1,) [m] along the segment
        along = np.stack([begin, np.minimum(begin + _DASH, length)], axis=1) / length  # (gaps + 1, 2)
        pieces.append(start + along[..., None] * (end - start))
    return np.concatenate(pieces)


def box_lines(
    boxes: np.ndarray, colour: Colour, width: float = 3.0, dashed: bool = False, crossed: bool = False
) -> Lines:
    """Boxes (B, 7) in one colour with lines of ``width`` [px]. Dashed boxes and boxes with a crossed roof have no
    arrow."""
    edges = box_edges(boxes).reshape(-1, 15, 2, 3)
    if dashed:  # the strokes of the arrow are too short to be dashed
        return Lines(dashes(edges[:, :12].reshape(-1, 2, 3)), colour, width)
    if crossed:
        cross = corners(as_rows(boxes, 7))[:, [(4, 6), (5, 7)]]  # (B, 2, 2, 3)
        edges = np.concatenate([edges[:, :12], cross], axis=1)
    return Lines(edges.reshape(-1, 2, 3), colour, width)


def velocity_arrows(boxes: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """Segments (S, 2, 3): an arrow of three strokes from the middle of each box's roof to its position in one second.

    boxes: (B, 7).
    velocities: (B, 2) [m/s]. Boxes slower than 0.2 m/s or of unknown velocity (nan) get no arrow.
    """
    rows, moving = as_rows(boxes, 7), np.asarray(velocities, dtype=np.float64).reshape(-1, 2)
    shown = np.hypot(*moving.T) > _STANDING
    rows, way = rows[shown], np.pad(moving[shown], ((0, 0), (0, 1)))  # (A, 7), (A, 3)
    start = rows[:, :3] + np.array([0.0, 0.0, 0.5]) * rows[:, 5:6]
    tip, left = start + way, np.stack([-way[:, 1], way[:, 0], 0 * way[:, 2]], axis=1)
    size = np.minimum(1.0, _BARB / np.linalg.norm(way, axis=1))[:, None] * 0.5  # long arrows have short barbs
    barbs = [tip - size * way + side * size * left / 2 for side in (1, -1)]
    return np.stack([start, tip, tip, barbs[0], tip, barbs[1]], axis=1).reshape(-1, 2, 3)


def circles(centres: np.ndarray, radius: float, steps: int = 12) -> np.ndarray:
    """Horizontal circles of ``radius`` [m] around the centres (N, 3), as segments (N * steps, 2, 3)."""
    angle = np.linspace(0, 2 * np.pi, steps + 1)
    rim = radius * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)  # (steps + 1, 3)
    around = as_rows(centres, 3)[:, None] + rim  # (N, steps + 1, 3)
    return np.stack([around[:, :-1], around[:, 1:]], axis=2).reshape(-1, 2, 3)


def ring_points(radius: float, ground: float, whole: bool = False, steps: int = 96) -> np.ndarray:
    """Points (steps + 1, 3) of a circle of ``radius`` [m] around the sensor at height ``ground`` [m].

    whole: the full circle; else the half ahead of the sensor.
    """
    angle = np.linspace(-np.pi / 2, np.pi * 3 / 2 if whole else np.pi / 2, steps + 1)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(steps + 1, ground)], axis=-1)


def rings(radii: list[float], ground: float, whole: bool = False) -> Lines:
    """One circle per radius [m], full (``whole``) or the half ahead of the sensor."""
    lines = [ring_points(radius, ground, whole) for radius in radii]
    segments = [np.stack([line[:-1], line[1:]], axis=1) for line in lines]
    return Lines(np.concatenate(segments) if segments else np.zeros((0, 2, 3)), RING, 1.5)


def ground_height(points: np.ndarray) -> float:
    """Height of the ground near the sensor [m]: a low percentile of the heights of the points (P, 3 or more) within
    25 m, or KITTI's -1.73 m if there are none."""
    near = points[np.hypot(points[:, 0], points[:, 1]) < 25.0]
    return float(np.percentile(near[:, 2], 10)) if len(near) else -1.73


def view_targets(points: np.ndarray, boxes: np.ndarray, positions: np.ndarray | None = None) -> np.ndarray:
    """Points (T, 3) [m] that a picture must show: the boxes (B, 7) and positions (N, 3) with a margin, or, without any,
    the 40 m ahead of the sensor."""
    found = corners(boxes).reshape(-1, 3)
    if positions is not None:
        found = np.concatenate([found, as_rows(positions, 3)])
    if len(found) == 0:
        found = np.array([[2.0, -8.0, -1.7], [40.0, 8.0, 0.0]])
    ground = ground_height(points)
    around = [(x, y, z) for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-0.2, 0.4)]  # (8, 3) [m]
    # At least the width of a street: a single object would fill the picture and hide its surroundings.
    x, y = (found[:, :2].min(axis=0) + found[:, :2].max(axis=0)) / 2
    street = [(x + along, y + across, ground) for along in (-10.0, 10.0) for across in (-9.0, 9.0)]
    return np.concatenate([(found[:, None] + np.array(around)).reshape(-1, 3), street])


def ahead(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Mask (P,) of the points (P, 3 or more) that are not behind both the sensor and the targets (T, 3).

    The other points would block the view of a camera behind the sensor.
    """
    return points[:, 0] > min(0.0, float(targets[:, 0].min()))
