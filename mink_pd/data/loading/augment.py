"""Augmentation of training frames as in SECOND (Yan et al., Sensors 2018, "Data Augmentation") and VoxelNet (Zhou,
Tuzel, CVPR 2018, section 3.2): pasted objects, noise on single objects, mirroring, rotation and scaling; a
tilted sensor; and dropped beams as in LiDAR Distillation."""

from dataclasses import replace

import numpy as np

from mink_pd.boxes.geometry import pairs_in_boxes, wrap_angle
from mink_pd.boxes.iou import first_free, prepare
from mink_pd.config.data import AugmentConfig, ObjectNoise
from mink_pd.data.frame import Frame
from mink_pd.data.loading.beams import Thinning
from mink_pd.data.loading.sampling import BEV, Database

_TRIES = 10  # positions tried for an object before it stays where it is


def augment(
    frame: Frame,
    config: AugmentConfig,
    rng: np.random.Generator,
    database: Database | None = None,
    thinning: Thinning | None = None,
) -> Frame:
    """A new frame with random changes according to ``config``; ``frame`` itself does not change.

    database: objects to paste; None: paste none.
    thinning: which points are seen; None: all except the beams that ``config.beams`` drops. It comes first, because
    beams can be distinguished only while all points are where they were measured.
    The camera's fields (objects, dont_care, calibration, image_size) become None because they no longer fit the points.
    """
    if thinning is None:
        thinning = Thinning(dropped=config.beams if config.enabled else None)
    if not config.enabled:
        return thinning(frame, rng)
    frame = replace(frame, objects=None, dont_care=None, calibration=None, image_size=None)
    if database is not None:
        frame = database.paste(frame, config.ground_truth_sampling, config.sampling_min_points, rng)
    frame = thinning(frame, rng)
    if config.object_noise is not None:
        frame = move_objects(frame, config.object_noise, rng)
    if rng.random() < config.flip:
        frame = mirror(frame)
    if config.flip_x and rng.random() < config.flip_x:
        frame = mirror_ahead(frame)
    frame = rotate(frame, rng.uniform(*config.rotation))
    frame = scale(frame, rng.uniform(*config.scaling))
    if config.tilt is not None:
        frame = tilt(frame, rng.normal(0, config.tilt.slope), rng.normal(0, config.tilt.height))
    return frame


def mirror(frame: Frame) -> Frame:
    """The frame mirrored left to right: y -> -y, yaw -> -yaw."""
    return _mirror(frame, axis=1, yaw=-frame.boxes[:, 6])


def mirror_ahead(frame: Frame) -> Frame:
    """The frame mirrored front to back: x -> -x, yaw -> pi - yaw."""
    return _mirror(frame, axis=0, yaw=np.pi - frame.boxes[:, 6])


def rotate(frame: Frame, angle: float) -> Frame:
    """The frame rotated by ``angle`` [rad] about the LiDAR's z axis."""
    frame = _copied(frame)
    for rows in _vectors(frame):
        rows[:, :2] = turned(rows[:, :2], angle)
    frame.boxes[:, 6] = wrap_angle(frame.boxes[:, 6] + angle)
    return frame


def scale(frame: Frame, factor: float) -> Frame:
    """The frame scaled by ``factor`` about the LiDAR's origin; velocities are scaled as well."""
    frame = _copied(frame)
    frame.boxes[:, 3:6] *= np.float32(factor)
    for rows in _vectors(frame):
        for axis in range(min(3, rows.shape[1])):  # column by column, which is three times as fast as rows of three
            rows[:, axis] *= np.float32(factor)
    return frame


def tilt(frame: Frame, slope: np.ndarray, height: float) -> Frame:
    """The frame over ground that rises by ``slope`` (2,) along x and y and by ``height`` [m]: only z changes.

    Boxes stay upright, as labels are; at the usual slopes the points of an object shift by centimetres within its box.
    """
    frame = _copied(frame)
    for rows in (frame.points, frame.boxes):
        rows[:, 2] += rows[:, :2] @ np.asarray(slope, np.float32) + np.float32(height)
    return frame


def turned(vectors: np.ndarray, angle: np.ndarray | float) -> np.ndarray:
    """Vectors (N, 2) rotated counter-clockwise by one angle [rad], or by an angle each (N,)."""
    x, y = vectors.T
    cos, sin = (np.asarray(part, vectors.dtype) for part in (np.cos(angle), np.sin(angle)))
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)


def _mirror(frame: Frame, axis: int, yaw: np.ndarray) -> Frame:
    frame = _copied(frame)
    for rows in _vectors(frame):
        rows[:, axis] *= -1
    frame.boxes[:, 6] = wrap_angle(yaw)
    return frame


def _copied(frame: Frame) -> Frame:
    """The frame with copies of its arrays."""
    velocities = None if frame.velocities is None else frame.velocities.copy()
    return replace(frame, points=frame.points.copy(), boxes=frame.boxes.copy(), velocities=velocities)


def _vectors(frame: Frame) -> list[np.ndarray]:
    """The arrays of a frame whose first columns are x and y: points, boxes and, if present, velocities."""
    return [rows for rows in (frame.points, frame.boxes, frame.velocities) if rows is not None]


def move_objects(frame: Frame, noise: ObjectNoise, rng: np.random.Generator) -> Frame:
    """Shift and rotate each box, with the points inside it, by its own random amount.

    A position that overlaps another box in bird's-eye view is drawn again, up to ten times; after that the object stays
    where it is. A point inside several boxes moves with the first.
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
    chosen = first_free(prepare(tries.reshape(-1, 7)[:, BEV]), prepare(boxes[:, BEV]))  # (B,)
    moved = np.flatnonzero(chosen >= 0)
    boxes[moved] = tries[moved, chosen[moved]]
    boxes[:, 6] = wrap_angle(boxes[:, 6])
    by = np.where(chosen >= 0, angle[np.arange(count), chosen], 0.0)  # (B,) [rad]
    points = _carry(frame.points, frame.boxes, boxes, by)
    velocities = None if frame.velocities is None else turned(frame.velocities, by)
    return replace(frame, points=points, boxes=boxes.astype(np.float32), velocities=velocities)


def _carry(points: np.ndarray, before: np.ndarray, after: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Move the points (P, 4+) inside the boxes ``before`` (B, 7) to the boxes ``after``, rotated by ``angles`` (B,)
    [rad]."""
    box, point = pairs_in_boxes(points, before)  # (N,) each
    rows, first = np.unique(point, return_index=True)  # pairs are sorted by box, so this is the first box of each point
    owner = box[first]
    offset = (points[rows, :3] - before[owner, :3]).astype(np.float64)  # (R, 3)
    offset[:, :2] = turned(offset[:, :2], angles[owner])
    moved = points.copy()
    moved[rows, :3] = offset + after[owner, :3]
    return moved
