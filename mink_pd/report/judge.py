"""A frame's detections judged against its labels, for pictures and scenes."""

import numpy as np

from mink_pd.boxes.camera import camera_to_lidar
from mink_pd.data.frame import Frame
from mink_pd.errors import DataError
from mink_pd.evaluate.matching import match_frame
from mink_pd.render import FALSE_POSITIVE, IGNORED, MISSED, TRUE_POSITIVE, Panel
from mink_pd.train.predict import FrameDetections, to_objects


def judge(frame: Frame, found: FrameDetections, score: float, title: str) -> Panel:
    """Detections of at least ``score`` and missed labels, by the evaluator's rules at the moderate level.

    Raises DataError where the frame has no labels to judge by.
    """
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
