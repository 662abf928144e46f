"""Overlaps of KITTI rows in the image, in bird's-eye view, and in 3D."""

from dataclasses import dataclass

import numpy as np

from mink_pd.boxes.iou import AREA, intersections, near, prepare
from mink_pd.data.objects import Objects
from mink_pd.jit import njit

OVERLAPS = ("bbox", "bev", "3d")  # order of the first axis of Pairs.overlap
OVERLAPS_IN_SPACE = ("bev", "3d")


@dataclass
class Pairs:
    """N pairs of a label and a detection of the same frame with some overlap, sorted by label, then by detection."""

    label: np.ndarray  # (N,) int64, row of the label
    detection: np.ndarray  # (N,) int64, row of the detection
    overlap: np.ndarray  # (3, N) float64, IoU in the order of OVERLAPS


def pair_up(labels: Objects, detections: Objects, label_first: np.ndarray, detection_first: np.ndarray) -> Pairs:
    """The overlapping pairs of labels (G rows) and detections (D rows) within each frame.

    label_first, detection_first: (F + 1,) int64, first row of each frame.
    """
    label, detection, overlap = _pair_up(
        label_first,
        detection_first,
        np.ascontiguousarray(labels.bbox),
        np.ascontiguousarray(detections.bbox),
        *_upright(labels),
        *_upright(detections),
    )
    return Pairs(label, detection, overlap.T)


def pair_boxes(
    labels: np.ndarray, detections: np.ndarray, label_first: np.ndarray, detection_first: np.ndarray
) -> Pairs:
    """:func:`pair_up` for labels (G, 7) and detections (D, 7) in the LiDAR frame, which have no image box."""
    nothing = (np.zeros((len(labels), 4)), np.zeros((len(detections), 4)))
    ground = [prepare(boxes[:, [0, 1, 3, 4, 6]]) for boxes in (labels, detections)]
    spans = [
        np.stack([boxes[:, 2] - boxes[:, 5] / 2, boxes[:, 2] + boxes[:, 5] / 2, np.maximum(boxes[:, 5], 0)], axis=1)
        for boxes in (labels, detections)
    ]
    label, detection, overlap = _pair_up(
        label_first, detection_first, *nothing, ground[0], spans[0], ground[1], spans[1]
    )
    return Pairs(label, detection, overlap.T)


def dont_care_share(
    labels: Objects, detections: Objects, label_first: np.ndarray, detection_first: np.ndarray, regions: np.ndarray
) -> np.ndarray:
    """The largest share (D,) of each detection's image box that lies in one DontCare box of its frame.

    regions: mask (G,) of the labels that are DontCare boxes.
    """
    return _share(
        label_first,
        detection_first,
        np.ascontiguousarray(labels.bbox),
        np.ascontiguousarray(detections.bbox),
        regions,
    )


def _upright(objects: Objects) -> tuple[np.ndarray, np.ndarray]:
    """Bird's-eye-view rectangles, prepared (8, B), with the camera's x and z as x and y; and bottom, top and height
    (B, 3) of the boxes along the camera's -y."""
    height, width, length = objects.dimensions.T
    x, y, z = objects.location.T
    centre = y - height / 2
    rectangles = prepare(np.stack([x, z, length, width, -objects.rotation_y], axis=1))
    return rectangles, np.stack([centre - height / 2, centre + height / 2, np.maximum(height, 0)], axis=1)


@njit(error_model="numpy")
def _pair_up(
    label_first: np.ndarray,
    detection_first: np.ndarray,
    label_image: np.ndarray,
    detection_image: np.ndarray,
    label_ground: np.ndarray,
    label_span: np.ndarray,
    detection_ground: np.ndarray,
    detection_span: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    room, found = 1024, 0
    label, detection, overlap = np.empty(room, np.int64), np.empty(room, np.int64), np.empty((room, 3))
    for frame in range(len(label_first) - 1):
        first, last = detection_first[frame], detection_first[frame + 1]
        for g in range(label_first[frame], label_first[frame + 1]):
            rows = near(label_ground, g, detection_ground, first, last)
            areas, k = intersections(label_ground, g, detection_ground, rows), 0
            for d in range(first, last):
                # Boxes that overlap in 3D also overlap in bird's-eye view.
                in_image = image_intersection(label_image[g], detection_image[d])
                from_above = 0.0
                if k < len(rows) and rows[k] == d:
                    from_above = areas[k]
                    k += 1
                if in_image == 0 and from_above == 0:
                    continue
                if found == room:
                    room *= 2
                    label, detection = _longer(label, room), _longer(detection, room)
                    wider = np.empty((room, 3))
                    wider[:found] = overlap
                    overlap = wider
                a, b = label_span[g], detection_span[d]
                in_space = from_above * max(min(a[1], b[1]) - max(a[0], b[0]), 0.0)
                label[found], detection[found] = g, d
                overlap[found, 0] = _iou(in_image, image_area(label_image[g]), image_area(detection_image[d]))
                area, other = label_ground[AREA, g], detection_ground[AREA, d]
                overlap[found, 1] = _iou(from_above, area, other)
                overlap[found, 2] = _iou(in_space, area * a[2], other * b[2])
                found += 1
    return label[:found], detection[:found], overlap[:found]


@njit()
def _longer(values: np.ndarray, room: int) -> np.ndarray:
    result = np.empty(room, values.dtype)
    result[: len(values)] = values
    return result


@njit(error_model="numpy")
def _share(
    label_first: np.ndarray,
    detection_first: np.ndarray,
    label_image: np.ndarray,
    detection_image: np.ndarray,
    regions: np.ndarray,
) -> np.ndarray:
    share = np.zeros(len(detection_image))
    for frame in range(len(label_first) - 1):
        for g in range(label_first[frame], label_first[frame + 1]):
            if not regions[g]:
                continue
            for d in range(detection_first[frame], detection_first[frame + 1]):
                shared = image_intersection(detection_image[d], label_image[g])
                if shared > 0:
                    share[d] = max(share[d], shared / image_area(detection_image[d]))
    return share


@njit()
def image_area(box: np.ndarray) -> float:
    """Area [px^2] of a box x1, y1, x2, y2 [px]; no pixel is added to width or height."""
    return (box[2] - box[0]) * (box[3] - box[1])


@njit()
def image_intersection(a: np.ndarray, b: np.ndarray) -> float:
    """Area [px^2] that two image boxes share."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0)


@njit(error_model="numpy")
def _iou(shared: float, a: float, b: float) -> float:
    """IoU with the order of operations of the official evaluator. At the threshold, the last bit decides."""
    return shared / (a + b - shared) if shared > 0 else 0.0
