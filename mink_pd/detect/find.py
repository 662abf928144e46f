"""Looking for single labelled objects: which of them a detector finds, and how well."""

from dataclasses import dataclass

import numpy as np

from mink_pd.boxes.iou import bev_iou, iou_3d
from mink_pd.config import Config
from mink_pd.data import Dataset
from mink_pd.detect.predict import detect_frame
from mink_pd.models import Detector

BEV = [0, 1, 3, 4, 6]  # of a box: x, y, l, w, yaw


@dataclass
class Search:
    """One labelled box (7,) of a frame, and its best overlaps with detections of its class; score of the 3D best."""

    frame: str
    box: np.ndarray
    bev: float
    iou: float
    score: float


def search(detector: Detector, config: Config, dataset: Dataset, name: str) -> list[Search]:
    """Every labelled object of class ``name`` whose centre lies in the detector's range."""
    bounds = np.array(config.data.range)
    result = []
    for frame in (dataset[index] for index in range(len(dataset))):
        inside = (frame.boxes[:, :3] >= bounds[:3]).all(axis=1) & (frame.boxes[:, :3] < bounds[3:]).all(axis=1)
        boxes = frame.boxes[inside & (frame.names == name)]
        found = detect_frame(detector, frame, config)
        ours = found.names == name
        if not ours.any():
            result += [Search(frame.id, box, 0.0, 0.0, 0.0) for box in boxes]
            continue
        detections, scores = found.boxes[ours], found.scores[ours]
        overlap, above = iou_3d(boxes, detections), bev_iou(boxes[:, BEV], detections[:, BEV])
        result += [
            Search(frame.id, box, float(flat.max()), float(row.max()), float(scores[row.argmax()]))
            for box, row, flat in zip(boxes, overlap, above, strict=True)
        ]
    return result
