"""KITTI's object benchmark: figures at three levels of difficulty, and detections in its files."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from mink_pd.boxes.camera import camera_to_lidar
from mink_pd.config import Config
from mink_pd.data import Dataset
from mink_pd.data.datasets.kitti_dataset import Kitti
from mink_pd.data.frame import Frame
from mink_pd.data.kitti.labels import read_objects
from mink_pd.data.objects import Objects
from mink_pd.detect.predict import FrameDetections, to_objects, write_results
from mink_pd.errors import DataError
from mink_pd.evaluate.camera_fit import labels_fit_camera
from mink_pd.evaluate.kitti import METRICS, Result, evaluate_kitti, mean_average_precision
from mink_pd.evaluate.matching import match_frame
from mink_pd.evaluate.panel import Panel, outcomes_of
from mink_pd.evaluate.rules import LEVELS, MIN_IOU, thresholds
from mink_pd.evaluate.scorers.scorer import Kept, Scorer
from mink_pd.registry import SCORERS


@SCORERS.register("kitti")
class KittiScorer(Scorer):
    """KITTI (R40, percent): ``mAP_3d``, ``mAP_bev``, ``Car/3d/moderate`` and so on.

    It keeps (labels, detections) of each frame.

    min_iou: the detector's classes, over which means are taken, and the IoU that a match must exceed.
    image_rules: see :func:`evaluate_kitti`.
    """

    headline: ClassVar = {"mAP_bev": "mAP BEV", "mAP_3d": "mAP 3D"}
    rule = "AP in percent, KITTI's moderate level, R40"
    examples = "mAP_3d, mAP_bev or CLASS/3d/moderate with a class of data.classes"

    def __init__(self, min_iou: Mapping[str, float] = MIN_IOU, image_rules: bool = True) -> None:
        self.min_iou, self.image_rules = min_iou, image_rules
        if not image_rules:
            self.note = (
                "KITTI's rules on image boxes are off (evaluate.image_rules): the labels' image boxes do not fit the"
                " camera, so every object counts at every level, and only BEV and 3D are scored"
            )

    @classmethod
    def of(cls, dataset: Dataset, config: Config) -> "KittiScorer":
        rules = config.evaluate.image_rules
        if rules is None:
            rules = not isinstance(dataset, Kitti) or labels_fit_camera(dataset)
        return cls(thresholds(config.data.classes, config.evaluate.min_iou), rules)

    @classmethod
    def figures(cls, classes: list[str]) -> set[str]:
        single = {f"{c}/{metric}/{level.name}" for c in classes for metric in METRICS for level in LEVELS}
        return {"mAP_3d", "mAP_bev"} | single

    @classmethod
    def class_figures(cls, name: str) -> dict[str, str]:
        overlaps = {"bev": "BEV", "3d": "3D"}
        return {
            f"{name}/{key}/{level.name}": f"{title} {level.name}" for key, title in overlaps.items() for level in LEVELS
        }

    @classmethod
    def main_class_figures(cls, name: str) -> list[str]:
        return [f"{name}/bev/moderate", f"{name}/3d/moderate"]

    def keep(self, frame: Frame, found: FrameDetections) -> tuple[Objects, Objects]:
        return labels_of(frame), to_objects(frame, found, unseen=not self.image_rules)

    def score(self, kept: Kept) -> dict[str, float]:
        return kitti_figures(self.evaluate(kept))

    def evaluate(self, kept: Kept) -> Result:
        """All figures of :func:`evaluate_kitti`."""
        return evaluate_kitti(*split(kept), self.min_iou, self.image_rules)

    def write(self, folder: Path, kept: Kept) -> None:
        write_results(folder, split(kept)[1])

    def read(self, folder: Path, frames: Iterable[Frame]) -> Kept:
        kept = {}
        for frame in frames:
            path = folder / f"{frame.id}.txt"
            if not path.is_file():
                raise DataError(f"{path}: missing; evaluate the run's last weights again (mink-pd eval-kitti)")
            rows = read_objects(path, classes=list(self.min_iou), scores=True)
            kept[frame.id] = (labels_of(frame), rows)
        return kept

    def judge(self, frame: Frame, found: FrameDetections, score: float, title: str) -> Panel:
        """Match at the moderate level."""
        labels = _objects_of(frame, "judge detections by")
        assert frame.calibration is not None  # as of every frame that has rows of KITTI's
        rows = to_objects(frame, found, unseen=not self.image_rules)
        assert rows.score is not None
        rows = rows[rows.score >= score]
        match = match_frame(labels, rows, score, self.min_iou, image_rules=self.image_rules)
        boxes = camera_to_lidar(rows.location, rows.dimensions, rows.rotation_y, frame.calibration.camera_from_lidar)
        missed = frame.boxes[match.missed]
        return Panel(
            title=title,
            boxes=np.concatenate([boxes, missed]),
            outcomes=outcomes_of(match.true_positive, match.false_positive, len(missed)),
            scores=np.concatenate([rows.score, np.full(len(missed), np.nan)]),
        )


def split(kept: Kept) -> tuple[dict[str, Objects], dict[str, Objects]]:
    """Labels and detections that a KittiScorer has kept, by frame id."""
    return {id: pair[0] for id, pair in kept.items()}, {id: pair[1] for id, pair in kept.items()}


def labels_of(frame: Frame) -> Objects:
    """All label rows of a frame, DontCare regions included. Raises DataError for a frame without KITTI's labels."""
    objects = _objects_of(frame, "evaluate against")
    if frame.dont_care is None:
        return objects
    joined = (
        np.concatenate([getattr(objects, name), getattr(frame.dont_care, name)])
        for name in (
            "names",
            "truncated",
            "occluded",
            "alpha",
            "bbox",
            "dimensions",
            "location",
            "rotation_y",
        )
    )
    return Objects(*joined)


def _objects_of(frame: Frame, purpose: str) -> Objects:
    """The label rows of a frame. Raises DataError if it has none, and says whether it has labels of another kind."""
    if frame.objects is not None:
        return frame.objects
    if frame.labelled:
        raise DataError(
            f"frame {frame.id}: has labels, but the run's scorer needs KITTI's files (label_2, calib) to {purpose};"
            " choose a data set of KITTI, or a run with evaluate.scorer=clouds"
        )
    raise DataError(f"frame {frame.id}: has no labels to {purpose}; choose a split with label_2 files")


def kitti_figures(result: Result) -> dict[str, float]:
    """The figures that are logged (R40, percent): ``mAP_3d``, ``mAP_bev``, ``Car/3d/moderate`` and so on."""
    means = mean_average_precision(result)
    figures = {f"mAP_{metric}": value for metric, value in means.items()}
    for name, metrics in result.items():
        for metric, recalls in metrics.items():
            for level, value in zip(LEVELS, recalls["R40"], strict=True):
                figures[f"{name}/{metric}/{level.name}"] = value
    return {name: value for name, value in figures.items() if value is not None}
