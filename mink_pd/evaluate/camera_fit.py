"""Checks whether KITTI's rules on image boxes apply. Data of sensors without a camera have made-up image boxes."""

import numpy as np

from mink_pd.boxes.camera import camera_to_lidar
from mink_pd.data.datasets.kitti_dataset import Kitti
from mink_pd.data.kitti.calibration import read_calibration
from mink_pd.data.kitti.images import IMAGE_SIZE, size_of_image
from mink_pd.data.kitti.labels import DONT_CARE, read_objects
from mink_pd.data.kitti.projection import clip_boxes, project_boxes
from mink_pd.evaluate.candidates import Scene
from mink_pd.evaluate.overlaps import OVERLAPS

_FITS = 0.3  # smallest image IoU of a label and its projection; the lowest in 85 real frames is 0.56
_SHARE = 0.95  # smallest share of a split's labels that must fit; in real frames all do
_FRAMES = 500  # number of frames to check, spread over the split
_SAME_OBJECT = 0.5  # 3D IoU above which the image boxes of a label and a detection should overlap too


def labels_fit_camera(dataset: Kitti) -> bool:
    """Whether the labels' image boxes agree with the 3D boxes projected by the calib files.

    They disagree if data without a camera have placeholders for them, or if objects are behind or beside the camera.
    True if there is no label. Point clouds are not read. Raises DataError for a malformed file.
    """
    step = -(-len(dataset.ids) // _FRAMES)
    fits = [_fitting(dataset, id) for id in dataset.ids[::step]] if dataset.labelled else []
    values = np.concatenate([np.zeros(0), *fits])
    return not len(values) or float((values >= _FITS).mean()) >= _SHARE


def _fitting(dataset: Kitti, id: str) -> np.ndarray:
    """Image IoU (B,) of each labelled object of a frame with its projection; 0 for one that the camera does not see."""
    rows = read_objects(dataset.folder / "label_2" / f"{id}.txt", classes=dataset.classes, scores=False)
    rows = rows[rows.names != DONT_CARE]
    calibration = read_calibration(dataset.folder / "calib" / f"{id}.txt")
    size = size_of_image(dataset.folder / "image_2" / f"{id}.png") or dataset.image_size or IMAGE_SIZE
    boxes = camera_to_lidar(rows.location, rows.dimensions, rows.rotation_y, calibration.camera_from_lidar)
    return _image_iou(rows.bbox, np.nan_to_num(clip_boxes(project_boxes(boxes, calibration), size)))


def _image_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU (B,) of the image boxes a (B, 4) and b (B, 4), row by row."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])  # (B, 2)
    shared = np.maximum(sides, 0).prod(axis=1)
    union = sum(np.maximum(box[:, 2:] - box[:, :2], 0).prod(axis=1) for box in (a, b)) - shared
    return np.divide(shared, union, out=np.zeros(len(a)), where=shared > 0)


def detections_fit_labels(scene: Scene) -> bool:
    """Whether most detections that overlap a label in 3D also overlap it in the image; True if none overlaps any."""
    image, space = (scene.pairs.overlap[OVERLAPS.index(kind)] for kind in ("bbox", "3d"))
    same = space > _SAME_OBJECT
    return not same.any() or float((image[same] >= _FITS).mean()) >= 0.5
