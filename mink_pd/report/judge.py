"""A frame's detections judged against its labels, for pictures and scenes."""

import numpy as np

from mink_pd.boxes.camera import camera_to_lidar
from mink_pd.config import DataConfig
from mink_pd.data.frame import Frame
from mink_pd.data.loader import keep_boxes
from mink_pd.detect.predict import FrameDetections, to_objects
from mink_pd.errors import DataError
from mink_pd.evaluate.centres import match_centres
from mink_pd.evaluate.matching import match_frame
from mink_pd.render import FALSE_POSITIVE, IGNORED, MISSED, TRUE_POSITIVE, Panel


def judge(frame: Frame, found: FrameDetections, score: float, title: str, data: DataConfig) -> Panel:
    """Detections of at least ``score`` and missed labels, by the rules of the data set's evaluator.

    Raises DataError where the frame has no labels to judge by.
    """
    if data.kind == "nuscenes":
        return by_centres(keep_boxes(frame, data.range), found, score, title, data.classes)
    return by_overlap(frame, found, score, title)


def by_centres(frame: Frame, found: FrameDetections, score: float, title: str, classes: list[str]) -> Panel:
    """By nuScenes' distance of true positives; labels without a point or out of range do not count."""
    kept, labels = found.scores >= score, np.isin(frame.names, classes)
    boxes, names, scores = found.boxes[kept], found.names[kept], found.scores[kept]
    match = match_centres(frame.boxes[labels], frame.names[labels], boxes, names, scores)
    missed = np.flatnonzero(labels)[match.missed]
    unknown = np.full((len(frame.boxes), 2), np.nan)
    of_labels = unknown if frame.velocities is None else frame.velocities
    of_found = np.full((len(boxes), 2), np.nan) if found.velocities is None else found.velocities[kept]
    return Panel(
        title=title,
        boxes=np.concatenate([boxes, frame.boxes[missed]]),
        outcomes=np.concatenate([
            np.where(match.true_positive, TRUE_POSITIVE, FALSE_POSITIVE), np.full(len(missed), MISSED)
        ]),
        scores=np.concatenate([scores, np.full(len(missed), np.nan)]),
        names=np.concatenate([names, frame.names[missed]]),
        velocities=np.concatenate([of_found, of_labels[missed]]),
    )  # fmt: skip


def by_overlap(frame: Frame, found: FrameDetections, score: float, title: str) -> Panel:
    """By KITTI's evaluator at the moderate level."""
    if frame.objects is None or frame.calibration is None:
        raise DataError(f"frame {frame.id} has no labels to judge detections by; choose a labelled split")
    rows = to_objects(frame, found)
    assert rows.score is not None
    rows = rows[rows.score >= score]
    match = match_frame(frame.objects, rows, score)
    outcomes = np.where(match.true_positive, TRUE_POSITIVE, np.where(match.false_positive, FALSE_POSITIVE, IGNORED))
    boxes = camera_to_lidar(rows.location, rows.dimensions, rows.rotation_y, frame.calibration.camera_from_lidar)
    missed = frame.boxes[match.missed]
    return Panel(
        title=title,
        boxes=np.concatenate([boxes, missed]),
        outcomes=np.concatenate([outcomes, np.full(len(missed), MISSED)]),
        scores=np.concatenate([rows.score, np.full(len(missed), np.nan)]),
    )
