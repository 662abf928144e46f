"""Non-maximum suppression: by the exact overlap of rotated boxes seen from above, or by the distance of centres."""

import numpy as np
from numpy.typing import ArrayLike

from mink_pd.boxes.geometry import as_rows
from mink_pd.boxes.iou import AREA, intersections, near, prepare
from mink_pd.jit import njit


def nms(boxes: ArrayLike, scores: ArrayLike, iou: float, limit: int | None = None) -> np.ndarray:
    """Greedy rotated BEV NMS: a box goes when its IoU with a kept box of higher score is above ``iou``.

    boxes (B, 7), scores (B,). Returns the kept rows, int64, highest score first; among equal
    scores the first row wins. ``limit``: the first that many suffice.
    """
    rows = as_rows(boxes, 7)
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (len(rows),):
        raise ValueError(f"expected a score for each of {len(rows)} boxes, got shape {values.shape}")
    order = np.argsort(-values, kind="stable")
    kept = _suppress(prepare(rows[order][:, [0, 1, 3, 4, 6]]), iou, len(rows) if limit is None else limit)
    return order[kept]


def circle_nms(centres: ArrayLike, scores: ArrayLike, radius: float, limit: int | None = None) -> np.ndarray:
    """Greedy suppression by distance (CenterPoint, Yin et al. 2021, section 4.1): a centre goes when a kept one of
    higher score lies within ``radius`` [m] of it.

    centres (B, 2) [m], scores (B,). Returns the kept rows, int64, highest score first, at most ``limit``; among equal
    scores the first row wins.
    """
    positions, values = as_rows(centres, 2), np.asarray(scores, dtype=np.float64)
    if values.shape != (len(positions),):
        raise ValueError(f"expected a score for each of {len(positions)} centres, got shape {values.shape}")
    order = np.argsort(-values, kind="stable")
    kept = _suppress_near(positions[order], radius, len(positions) if limit is None else limit)
    return order[kept]


@njit()
def _suppress_near(positions: np.ndarray, radius: float, limit: int) -> np.ndarray:
    kept, count = np.empty(min(limit, len(positions)), np.int64), 0
    for i in range(len(positions)):
        if count == len(kept):
            break
        free = True
        for k in range(count):
            dx, dy = positions[i, 0] - positions[kept[k], 0], positions[i, 1] - positions[kept[k], 1]
            if dx * dx + dy * dy <= radius * radius:
                free = False
                break
        if free:
            kept[count] = i
            count += 1
    return kept[:count]


@njit()
def _suppress(rectangles: np.ndarray, iou: float, limit: int) -> np.ndarray:
    count, kept = rectangles.shape[1], 0
    keep, area = np.ones(count, dtype=np.bool_), rectangles[AREA]
    for i in range(count):
        if not keep[i]:
            continue
        kept += 1
        if kept > limit:
            keep[i:] = False
            break
        rows = near(rectangles, i, rectangles, i + 1, count)
        rows = rows[keep[rows]]
        shared = intersections(rectangles, i, rectangles, rows)
        for k in range(len(rows)):
            keep[rows[k]] = shared[k] <= iou * (area[i] + area[rows[k]] - shared[k])
    return np.nonzero(keep)[0]
