"""What is wrong with the cars that a detector finds in labelled KITTI frames, and what each error costs in AP:

python -m benchmarks.car_errors runs/demo/teacher-seed0 REAL:fold0_train
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mink_pd.boxes.geometry import wrap_angle
from mink_pd.boxes.iou import bev_iou
from mink_pd.config import Config
from mink_pd.data.datasets.kitti_dataset import Kitti
from mink_pd.data.frame import Frame
from mink_pd.data.kitti.images import IMAGE_SIZE
from mink_pd.data.kitti.labels import DONT_CARE
from mink_pd.data.objects import Objects
from mink_pd.detect.predict import FrameDetections, detect_frames, to_objects
from mink_pd.evaluate.kitti import evaluate_kitti
from mink_pd.models import Detector
from mink_pd.models.checkpoint import load_detector

CAR, IOU = "Car", 0.7
BEV = [0, 1, 3, 4, 6]
MATCHED, BACKGROUND = 0.3, 0.05  # BEV IoU of a found car at least, and of a box on background at most
SURE = 0.3  # score
SWAPS = {"x, y": [0, 1], "z": [2], "l, w": [3, 4], "h": [5], "z, h": [2, 5], "yaw": [6]}
ERRORS = ("x", "y", "z", "l", "w", "h", "yaw")


class Found:
    """The detections in some frames, each with the labelled car that it overlaps most."""

    def __init__(self, detector: Detector, config: Config, frames: Sequence[Frame]) -> None:
        self.area = config.data.range
        self.frames = frames
        self.detections = [found for _, found in detect_frames(detector, frames, config)]
        self.matches = [self._match(*pair) for pair in zip(frames, self.detections, strict=True)]

    def _match(self, frame: Frame, found: FrameDetections) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the detected cars (N,) that match a labelled one, and the boxes (N, 7) of these."""
        cars, rows = frame.boxes[frame.names == CAR], np.flatnonzero(found.names == CAR)
        if not len(cars) or not len(rows):
            return np.zeros(0, int), np.zeros((0, 7))
        overlap = bev_iou(found.boxes[rows][:, BEV], cars[:, BEV])  # (R, B)
        matched = overlap.max(1) >= MATCHED
        return rows[matched], cars[overlap.argmax(1)[matched]]

    def errors(self) -> tuple[np.ndarray, np.ndarray]:
        """Errors (N, 7) of the sure boxes of cars, x, y, z, l, w, h [m] and yaw [rad] modulo half a turn; and distances
        of the cars (N,) [m]."""
        errors, distances = [], []
        for found, (rows, cars) in zip(self.detections, self.matches, strict=True):
            sure = found.scores[rows] >= SURE
            difference = found.boxes[rows][sure].astype(np.float64) - cars[sure]
            difference[:, 6] = wrap_angle(2 * difference[:, 6]) / 2
            errors.append(difference)
            distances.append(np.hypot(cars[sure, 0], cars[sure, 1]))
        return np.concatenate(errors), np.concatenate(distances)

    def on_background(self) -> int:
        """Number of sure boxes of cars that overlap no labelled object."""
        count = 0
        for frame, found in zip(self.frames, self.detections, strict=True):
            boxes = found.boxes[(found.names == CAR) & (found.scores >= SURE)]
            overlap = bev_iou(boxes[:, BEV], frame.boxes[:, BEV]) if len(frame.boxes) else np.zeros((len(boxes), 1))
            count += int((overlap.max(1) < BACKGROUND).sum()) if len(boxes) else 0
        return count

    def average_precision(self, swapped: Sequence[int] = ()) -> tuple[float, float]:
        """Moderate AP of Car in BEV and 3D, R40, over the labels inside the detector's range.

        swapped: columns of the boxes of found cars that are replaced by the truth.
        """
        labels, detections, columns = {}, {}, np.array(swapped, np.int64)
        for frame, found, (rows, cars) in zip(self.frames, self.detections, self.matches, strict=True):
            boxes = found.boxes.copy()
            boxes[rows[:, None], columns] = cars[:, columns]
            detections[frame.id] = to_objects(frame, replace(found, boxes=boxes))
            labels[frame.id] = self._labels(frame)
        result = evaluate_kitti(labels, detections, {CAR: IOU})[CAR]
        values = [result[metric]["R40"][1] for metric in ("bev", "3d")]
        return tuple(float("nan") if value is None else value for value in values)  # type: ignore[return-value]

    def _labels(self, frame: Frame) -> Objects:
        """The labels inside the range; those outside are regions that nobody is judged on."""
        assert frame.objects is not None
        assert frame.dont_care is not None
        x, y = frame.boxes[:, :2].T
        inside = (x > self.area[0]) & (x < self.area[3]) & (y > self.area[1]) & (y < self.area[4])
        names = np.where(inside, frame.objects.names, DONT_CARE)
        parts = replace(frame.objects, names=names), frame.dont_care
        fields = ("names", "truncated", "occluded", "alpha", "bbox", "dimensions", "location", "rotation_y")
        return Objects(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


def report(found: Found, console: Console) -> None:
    """Print the errors and what they cost."""
    errors, distances = found.errors()
    table = Table("error of", "median", "spread", "median below 20 m", "beyond 25 m")
    for column, name in enumerate(ERRORS):
        values = errors[:, column]
        parts = np.median(values), values.std(), np.median(values[distances < 20]), np.median(values[distances > 25])
        table.add_row(name, *(f"{part:+.3f}" for part in parts))
    console.print(table)
    console.print(f"{len(errors)} found cars; {found.on_background()} boxes on background, score {SURE} or more")
    table = Table("replaced by the truth", "Car BEV", "Car 3D")
    for name, columns in {"nothing": [], **SWAPS}.items():
        table.add_row(name, *(f"{value:.1f}" for value in found.average_precision(columns)))
    console.print(table)


def main() -> None:
    """Detect, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("frames", metavar="ROOT:SPLIT", help="folder and split of frames in KITTI's layout")
    options = parser.parse_args()
    detector, config = load_detector(options.checkpoint)
    config.model.nms.score = 0.05
    root, _, split = options.frames.rpartition(":")
    dataset = Kitti(root, split, image_size=IMAGE_SIZE)
    frames = [dataset[row] for row in range(len(dataset))]
    report(Found(detector, config, frames), Console(width=120))


if __name__ == "__main__":
    main()
