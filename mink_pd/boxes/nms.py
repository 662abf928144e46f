"""Non-maximum suppression with the exact overlap of rotated boxes seen from above."""

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from mink_pd.boxes.geometry import as_rows
from mink_pd.boxes.iou import MAX_CORNERS, intersection, may_touch, prepare


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


@njit(cache=True)
def _suppress(rectangles: np.ndarray, iou: float, limit: int) -> np.ndarray:
    keep = np.ones(len(rectangles), dtype=np.bool_)
    kept = 0
    polygon, clipped = np.empty((MAX_CORNERS, 2)), np.empty((MAX_CORNERS, 2))
    for i in range(len(rectangles)):
        if not keep[i]:
            continue
        kept += 1
        if kept > limit:
            keep[i:] = False
            break
        for j in range(i + 1, len(rectangles)):
            if not keep[j] or not may_touch(rectangles, i, rectangles, j):
                continue
            small, large = rectangles[i, 7], rectangles[j, 7]
            if small > large:
                small, large = large, small
            if small <= iou * large:  # IoU is at most the ratio of the areas: no need to clip
                continue
            shared = intersection(rectangles[i], rectangles[j], polygon, clipped)
            keep[j] = shared <= iou * (small + large - shared)
    return np.nonzero(keep)[0]
