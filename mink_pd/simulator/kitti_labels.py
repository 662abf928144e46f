"""KITTI labels of a simulated scan, according to the rules of the object benchmark."""

import numpy as np

from mink_pd.boxes.camera import lidar_to_camera
from mink_pd.data.kitti.projection import clip_boxes, observation_angle, project_boxes
from mink_pd.data.objects import Objects
from mink_pd.simulator.moving_scene import Snapshot
from mink_pd.simulator.rig import IMAGE_SIZE, calibration
from mink_pd.simulator.sensor import Scan

# Smallest share of the rays towards an object that must reach it to count as fully visible, partly occluded, and
# largely occluded. Below the last it is unknown (3).
VISIBLE = (0.8, 0.4, 0.1)
# Beyond this distance, an object with fewer points becomes a DontCare region: an annotator could see but not box it.
FAR, FEW_POINTS = 25.0, 5
MAX_TRUNCATION = 0.95


def make_labels(snapshot: Snapshot, scan: Scan) -> Objects:
    """The label file of a scan: objects with a point inside the image, nearest first, then DontCare regions.

    A 2D box encloses the projected corners and is clipped at the image's border. Truncation is the share of the
    unclipped 2D box outside the image. Both agree with the label files of real frames. Occlusion follows VISIBLE.
    """
    points = np.bincount(scan.owner[scan.owner >= 0], minlength=len(snapshot.boxes))
    rows = np.flatnonzero(snapshot.labelled & (points > 0))
    rows = rows[np.argsort(np.linalg.norm(snapshot.boxes[rows, :2], axis=1))]
    boxes = snapshot.boxes[rows]
    bbox, truncated = image_boxes(boxes)
    location, dimensions, rotation_y = lidar_to_camera(boxes, calibration().camera_from_lidar)
    usable = (truncated < MAX_TRUNCATION) & (location[:, 2] > 0)
    dont_care = (location[:, 2] > FAR) & (points[rows] < FEW_POINTS)
    objects = Objects(
        names=snapshot.names[rows],
        truncated=truncated,
        occluded=occlusion(scan.reached[rows], scan.possible[rows]),
        alpha=observation_angle(location, rotation_y),
        bbox=bbox,
        dimensions=dimensions,
        location=location,
        rotation_y=rotation_y,
    )
    return _join(objects[usable & ~dont_care], _dont_care(bbox[usable & dont_care]))


def image_boxes(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2D boxes (B, 4) [px] of boxes (B, 7), and the share (B,) of each that lies outside the image."""
    whole = np.nan_to_num(project_boxes(boxes, calibration()))  # a box entirely behind the camera becomes empty
    cut = clip_boxes(whole, IMAGE_SIZE)
    area = (whole[:, 2] - whole[:, 0]) * (whole[:, 3] - whole[:, 1])
    inside = (cut[:, 2] - cut[:, 0]) * (cut[:, 3] - cut[:, 1])
    return cut, 1 - inside / np.maximum(area, 1e-6)


def occlusion(reached: np.ndarray, possible: np.ndarray) -> np.ndarray:
    """KITTI's occlusion levels (B,) from the rays that reached each object, and those that would without occlusion."""
    visible = reached / np.maximum(possible, 1)
    return np.searchsorted(-np.array(VISIBLE), -visible, side="left").astype(np.int64)


def _dont_care(bbox: np.ndarray) -> Objects:
    count = len(bbox)
    return Objects(
        names=np.full(count, "DontCare", dtype="<U16"),
        truncated=np.full(count, -1.0),
        occluded=np.full(count, -1),
        alpha=np.full(count, -10.0),
        bbox=bbox,
        dimensions=np.full((count, 3), -1.0),
        location=np.full((count, 3), -1000.0),
        rotation_y=np.full(count, -10.0),
    )


def _join(a: Objects, b: Objects) -> Objects:
    fields = ("names", "truncated", "occluded", "alpha", "bbox", "dimensions", "location", "rotation_y")
    return Objects(*(np.concatenate([getattr(a, name), getattr(b, name)]) for name in fields))
