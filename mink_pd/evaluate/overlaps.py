"""Overlaps of KITTI rows: in the image, seen from above, and in space."""

import numpy as np

from mink_pd.boxes.iou import bev_iou, iou_3d
from mink_pd.data.objects import Objects
from mink_pd.evaluate.rules import is_named

OVERLAPS = ("bbox", "bev", "3d")  # order of the first axis of frame_overlaps


def frame_overlaps(labels: Objects, detections: Objects) -> np.ndarray:
    """IoU of each label (G) with each detection (D) of one frame: float64 (3, G, D), in the order of
    OVERLAPS."""
    a, b = _upright(labels), _upright(detections)
    ground = [0, 1, 3, 4, 6]
    in_image = image_iou(labels.bbox, detections.bbox)
    return np.stack([in_image, bev_iou(a[:, ground], b[:, ground]), iou_3d(a, b)])


def dont_care_share(labels: Objects, detections: Objects) -> np.ndarray:
    """The largest share of each detection's image box (D,) that lies in one DontCare box of the same
    frame."""
    regions = labels.bbox[is_named(labels, "DontCare")]
    shared = _image_intersection(detections.bbox, regions)  # (D, R)
    area = _image_area(detections.bbox)[:, None]  # (D, 1)
    share = np.divide(shared, area, out=np.zeros_like(shared), where=shared > 0)
    return share.max(axis=1, initial=0.0)


def image_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of the image boxes a (A, 4) and b (B, 4), x1, y1, x2, y2 [px]: float64 (A, B).

    No pixel is added to width or height. Order of operations as in the official evaluator: a box may lie
    exactly at the threshold, where the last bit decides.
    """
    shared = _image_intersection(a, b)
    union = np.add.outer(_image_area(a), _image_area(b)) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def _image_area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _image_intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    width = np.minimum.outer(a[:, 2], b[:, 2]) - np.maximum.outer(a[:, 0], b[:, 0])  # (A, B)
    height = np.minimum.outer(a[:, 3], b[:, 3]) - np.maximum.outer(a[:, 1], b[:, 1])
    return np.maximum(width, 0) * np.maximum(height, 0)


def _upright(objects: Objects) -> np.ndarray:
    """Camera boxes (B, 7) with the axes x, z, y of the camera in place of x, y, z, so that IoU stays the
    same."""
    height, width, length = objects.dimensions.T
    x, y, z = objects.location.T
    return np.stack([x, z, y - height / 2, length, width, height, -objects.rotation_y], axis=1)
