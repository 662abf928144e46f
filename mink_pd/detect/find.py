"""Searching for single labelled objects: which of them a detector finds, and how well."""

from dataclasses import dataclass

import numpy as np

from mink_pd.boxes.iou import bev_iou, iou_3d
from mink_pd.config import Config
from mink_pd.data import Dataset
from mink_pd.detect.predict import detect_frame
from mink_pd.errors import ConfigError
from mink_pd.models import Detector

BEV = [0, 1, 3, 4, 6]  # of a box: x, y, l, w, yaw


@dataclass
class Search:
    """One labelled object and the detections of its class that overlap it most.

    frame: its id. box: (7,), LiDAR frame. bev, iou: the highest IoU from above and in space, 0 without a detection.
    score: of the detection with the highest IoU in space.
    """

    frame: str
    box: np.ndarray
    bev: float
    iou: float
    score: float


def search(detector: Detector, config: Config, dataset: Dataset, name: str) -> list[Search]:
    """Every labelled object of class ``name`` whose centre lies in the detector's range.

    Case makes no difference, as in the evaluation. Raises ConfigError for a class that the detector lacks.
    """
    known = next((one for one in detector.classes if one.lower() == name.lower()), None)
    if known is None:
        raise ConfigError(f"class '{name}': the detector finds {', '.join(detector.classes)}; choose one of them")
    bounds = np.array(config.data.range)
    result = []
    for frame in (dataset[index] for index in range(len(dataset))):
        inside = (frame.boxes[:, :3] >= bounds[:3]).all(axis=1) & (frame.boxes[:, :3] < bounds[3:]).all(axis=1)
        boxes = frame.boxes[inside & (np.char.lower(frame.names) == known.lower())]
        found = detect_frame(detector, frame, config)
        ours = found.names == known
        if not ours.any():
            result += [Search(frame.id, box, 0.0, 0.0, 0.0) for box in boxes]
            continue
        detections, scores = found.boxes[ours], found.scores[ours]
        in_space, from_above = iou_3d(boxes, detections), bev_iou(boxes[:, BEV], detections[:, BEV])  # (B, D) each
        result += [
            Search(frame.id, box, float(above.max()), float(row.max()), float(scores[row.argmax()]))
            for box, row, above in zip(boxes, in_space, from_above, strict=True)
        ]
    return result
