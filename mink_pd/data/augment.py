"""Augmentation of training frames, as SECOND (Yan et al., Sensors 2018, "Data Augmentation") does it, after
VoxelNet (Zhou, Tuzel, CVPR 2018, section 3.2): pasted objects, noise on single objects, mirroring, rotation,
scaling."""

from dataclasses import replace

import numpy as np

from mink_pd.boxes.geometry import pairs_in_boxes, wrap_angle
from mink_pd.boxes.iou import first_free, prepare
from mink_pd.config import AugmentConfig, ObjectNoise
from mink_pd.data.frame import Frame
from mink_pd.data.sampling import BEV, Database

_TRIES = 10  # positions drawn for an object before it stays where it is


def augment(frame: Frame, config: AugmentConfig, rng: np.random.Generator, database: Database | None = None) -> Frame:
    """A new frame, changed at random as ``config`` says; ``frame`` itself is left as it is.

    database: objects to paste; None pastes none. What belongs to the picture (objects, dont_care,
    calibration, image_size) becomes None: it no longer fits the points.
    """
    if not config.enabled:
        return frame
    frame = replace(frame, objects=None, dont_care=None, calibration=None, image_size=None)
    if database is not None:
        frame = database.paste(frame, config.ground_truth_sampling, config.sampling_min_points, rng)
    if config.object_noise is not None:
        frame = move_objects(frame, config.object_noise, rng)
    if rng.random() < config.flip:
        frame = mirror(frame)
    frame = rotate(frame, rng.uniform(*config.rotation))
    return scale(frame, rng.uniform(*config.scaling))


def mirror(frame: Frame) -> Frame:
    """The frame with left and right exchanged: y -> -y, yaw -> -yaw."""
    points, boxes = frame.points.copy(), frame.boxes.copy()
    points[:, 1] *= -1
    boxes[:, 1] *= -1
    boxes[:, 6] = wrap_angle(-frame.boxes[:, 6])
    return replace(frame, points=points, boxes=boxes)


def rotate(frame: Frame, angle: float) -> Frame:
    """The frame turned by ``angle`` [rad] about the LiDAR's z axis."""
    points, boxes = frame.points.copy(), frame.boxes.copy()
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    for before, after in ((frame.points, points), (frame.boxes, boxes)):
        after[:, 0] = cos * before[:, 0] - sin * before[:, 1]
        after[:, 1] = sin * before[:, 0] + cos * before[:, 1]
    boxes[:, 6] = wrap_angle(frame.boxes[:, 6] + angle)
    return replace(frame, points=points, boxes=boxes)


def scale(frame: Frame, factor: float) -> Frame:
    """The frame enlarged by ``factor`` about the LiDAR's origin."""
    points, boxes = frame.points.copy(), frame.boxes.copy()
    for axis in range(3):  # a column at a time: three times as fast as rows of three
        points[:, axis] *= np.float32(factor)
    boxes[:, :6] *= np.float32(factor)
    return replace(frame, points=points, boxes=boxes)


def move_objects(frame: Frame, noise: ObjectNoise, rng: np.random.Generator) -> Frame:
    """Shift and turn each box, with the points in it, by its own random amount.

    A position whose BEV overlaps another box is drawn anew, up to ten times; then the object stays where it
    is. A point in several boxes goes with the first.
    """
    count = len(frame.boxes)
    shift = rng.normal(0, noise.shift, (count, _TRIES, 3))
    angle = rng.uniform(*noise.rotation, (count, _TRIES))
    if not count:
        return frame
    tries = np.repeat(frame.boxes[:, None].astype(np.float64), _TRIES, axis=1)  # (B, tries, 7)
    tries[..., :3] += shift
    tries[..., 6] += angle
    boxes = frame.boxes.astype(np.float64)
    ground = prepare(tries.reshape(-1, 7)[:, BEV]).reshape(count, _TRIES, -1)
    chosen = first_free(ground, prepare(boxes[:, BEV]))  # (B,)
    moved = np.flatnonzero(chosen >= 0)
    boxes[moved] = tries[moved, chosen[moved]]
    boxes[:, 6] = wrap_angle(boxes[:, 6])
    turned = np.where(chosen >= 0, angle[np.arange(count), chosen], 0.0)  # (B,)
    points = _carry(frame.points, frame.boxes, boxes, turned)
    return replace(frame, points=points, boxes=boxes.astype(np.float32))


def _carry(points: np.ndarray, before: np.ndarray, after: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """Move the points (P, 4) inside ``before`` (B, 7) along with their boxes, turned by ``turned`` (B,)
    [rad]."""
    box, point = pairs_in_boxes(points, before)  # (N,) each
    rows, first = np.unique(point, return_index=True)  # pairs are sorted by box: the first has the last word
    owner = box[first]
    x, y, z = (points[rows, :3] - before[owner, :3]).T  # (R,) each
    cos, sin = np.cos(turned)[owner], np.sin(turned)[owner]
    moved = points.copy()
    moved[rows, 0] = cos * x - sin * y + after[owner, 0]
    moved[rows, 1] = sin * x + cos * y + after[owner, 1]
    moved[rows, 2] = z + after[owner, 2]
    return moved
