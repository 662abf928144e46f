"""Scores for any classes in the LiDAR frame, for data sets without a camera."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from mink_pd.boxes.geometry import pairs_in_boxes
from mink_pd.config import Config
from mink_pd.config.section import Range
from mink_pd.data import Dataset
from mink_pd.data.frame import Frame
from mink_pd.detect.clouds import write_json
from mink_pd.detect.file_frame import in_file_frame, in_lidar_frame
from mink_pd.detect.predict import FrameDetections
from mink_pd.errors import DataError
from mink_pd.evaluate.any_class import (
    POINTS,
    RANGES,
    CloudFrame,
    Result,
    evaluate_clouds,
    figure_names,
    match_frame,
    mean_figures,
)
from mink_pd.evaluate.detection_files import read_detections
from mink_pd.evaluate.panel import Panel, outcomes_of
from mink_pd.evaluate.rules import thresholds
from mink_pd.evaluate.scorers.scorer import Kept, Scorer
from mink_pd.files import replacing_folder
from mink_pd.registry import SCORERS

MEANS = ("mAP_bev", "mAP_3d", "mAP_distance", "mAP_bev_R40", "mAP_3d_R40")


@SCORERS.register("clouds")
class CloudsScorer(Scorer):
    """Any classes (percent): ``mAP_3d``, ``mAP_bev``, ``mAP_distance``, ``Forklift/3d``, ``Forklift/recall`` and so on.

    It keeps a CloudFrame of each frame.

    min_iou: the detector's classes, over which means are taken, and the IoU that a match must exceed.
    range: objects count if their centre is inside in x and y; None: everywhere.
    min_points: objects with fewer points do not count.
    """

    headline: ClassVar = {"mAP_bev": "mAP BEV", "mAP_3d": "mAP 3D"}
    examples = "mAP_3d, mAP_bev, mAP_distance or CLASS/3d with a class of data.classes"
    errors = frozenset({"false_positives_per_frame", "heading_error"})
    rule = "AP in percent, all points of the curve"

    def __init__(self, min_iou: Mapping[str, float], range: Range | None = None, min_points: int = 1) -> None:
        self.min_iou, self.range, self.min_points = min_iou, range, min_points

    @classmethod
    def of(cls, dataset: Dataset, config: Config) -> "CloudsScorer":
        settings = config.evaluate
        return cls(thresholds(config.data.classes, settings.min_iou), config.data.range, settings.min_points)

    @classmethod
    def figures(cls, classes: list[str]) -> set[str]:
        return {*MEANS} | {f"{name}/{figure}" for name in classes for figure in figure_names()}

    @classmethod
    def class_figures(cls, name: str) -> dict[str, str]:
        parts = {part: part.replace("_", " ").replace("-", "–") for part in (*RANGES, *POINTS)}
        titles = {"bev": "BEV", "3d": "3D", "distance": "by distance", "3d/R40": "3D R40"}
        titles |= {f"3d/{part}": f"3D {title}" for part, title in parts.items()}
        titles |= {
            "precision": "precision",
            "recall": "recall",
            "false_positives_per_frame": "false positives per frame",
        }
        titles |= {"heading_error": "heading error [°]"}
        return {f"{name}/{figure}": title for figure, title in titles.items()}

    @classmethod
    def main_class_figures(cls, name: str) -> list[str]:
        return [f"{name}/bev", f"{name}/3d"]

    def keep(self, frame: Frame, found: FrameDetections) -> CloudFrame:
        if not frame.labelled:
            raise DataError(f"frame {frame.id}: has no labels to evaluate against; choose a labelled split")
        points, found_points = (
            np.bincount(pairs_in_boxes(frame.points, boxes)[0], minlength=len(boxes))
            for boxes in (frame.boxes, found.boxes)
        )
        return CloudFrame(
            boxes=frame.boxes,
            names=frame.names,
            points=points,
            counted=(points >= self.min_points) & self._within(frame.boxes),
            found=found.boxes,
            found_names=found.names,
            scores=found.scores,
            found_points=found_points,
            to_lidar=frame.to_lidar,
        )

    def score(self, kept: Kept) -> dict[str, float]:
        result = self.evaluate(kept)
        single = {f"{name}/{key}": value for name, one in result.items() for key, value in one.figures().items()}
        return mean_figures(result) | single

    def evaluate(self, kept: Kept) -> Result:
        """All figures of :func:`evaluate_clouds`."""
        return evaluate_clouds(kept, self.min_iou)

    def write(self, folder: Path, kept: Kept) -> None:
        with replacing_folder(folder) as temporary:
            for id, frame in kept.items():
                found = FrameDetections(frame.found, frame.found_names, frame.scores)
                write_json(temporary / f"{id}.json", in_file_frame(found, frame.to_lidar))

    def read(self, folder: Path, frames: Iterable[Frame]) -> Kept:
        return {frame.id: self.keep(frame, self._read(folder, frame)) for frame in frames}

    @staticmethod
    def _read(folder: Path, frame: Frame) -> FrameDetections:
        return in_lidar_frame(read_detections(folder, [frame.id])[frame.id], frame.to_lidar)

    def judge(self, frame: Frame, found: FrameDetections, score: float, title: str) -> Panel:
        """Match by 3D overlap."""
        high = found.scores >= score
        kept = self.keep(frame, FrameDetections(found.boxes[high], found.names[high], found.scores[high]))
        match = match_frame(kept, self.min_iou)
        hit = match >= 0
        right = hit.copy()
        right[hit] = kept.counted[match[hit]]
        known = np.isin(kept.names, list(self.min_iou))
        missed = kept.counted & known & ~np.isin(np.arange(len(kept.boxes)), match)
        return Panel(
            title=title,
            boxes=np.concatenate([kept.found, kept.boxes[missed]]),
            outcomes=outcomes_of(right, ~hit, int(missed.sum())),
            scores=np.concatenate([kept.scores, np.full(int(missed.sum()), np.nan)]),
        )

    def _within(self, boxes: np.ndarray) -> np.ndarray:
        """Mask (B,) of the boxes (B, 7) whose centre is in range in x and y."""
        if self.range is None:
            return np.ones(len(boxes), dtype=bool)
        low, high = np.array(self.range[:2], np.float32), np.array(self.range[3:5], np.float32)
        return ((boxes[:, :2] >= low) & (boxes[:, :2] < high)).all(axis=1)
