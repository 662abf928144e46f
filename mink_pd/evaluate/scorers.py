"""What a data set's benchmark wants of detections: which figures, and which files. One scorer a kind of data set."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mink_pd.config import Config, DataConfig
from mink_pd.data import Dataset
from mink_pd.data.frame import Frame
from mink_pd.data.kitti import Kitti
from mink_pd.data.nuscenes import CLASSES, NuScenes
from mink_pd.data.objects import Objects
from mink_pd.detect.predict import FrameDetections, to_objects, write_results
from mink_pd.errors import ConfigError, DataError
from mink_pd.evaluate import nuscenes
from mink_pd.evaluate.camera_fit import labels_fit_camera
from mink_pd.evaluate.kitti import METRICS, Result, evaluate_kitti, mean_average_precision
from mink_pd.evaluate.rules import LEVELS, MIN_IOU, thresholds
from mink_pd.files import replacing_folder
from mink_pd.registry import DATASETS, SCORERS

Kept = Mapping[str, Any]  # frame id -> what a scorer keeps of the frame


class Scorer(ABC):
    """Scores detections in a data set as its benchmark does.

    headline: the figures that sum up a run, and what people call them. examples: names of figures, for messages.
    note: what a reader of the figures must know, or nothing.
    """

    headline: ClassVar[dict[str, str]]
    examples: ClassVar[str]
    note: str = ""

    @classmethod
    @abstractmethod
    def of(cls, dataset: Dataset, config: Config) -> "Scorer":
        """The scorer of a detector with these settings in that data set. Raises ConfigError where they do not fit."""

    @classmethod
    @abstractmethod
    def figures(cls, classes: list[str]) -> set[str]:
        """The names of all figures that ``score`` can give for a detector of these classes."""

    @abstractmethod
    def keep(self, frame: Frame, found: FrameDetections) -> Any:
        """What scoring and writing need of a frame; it travels between processes. Raises DataError for a frame that
        cannot be scored."""

    @abstractmethod
    def score(self, kept: Kept) -> dict[str, float]:
        """The figures that are logged; those without a meaning are left out."""

    @abstractmethod
    def write(self, folder: Path, kept: Kept) -> None:
        """Write the detections as the benchmark takes them into ``folder``, which then holds nothing else."""


@SCORERS.register("kitti")
class KittiScorer(Scorer):
    """KITTI (R40, percent): ``mAP_3d``, ``mAP_bev``, ``Car/3d/moderate`` and so on. Keeps (labels, detections).

    min_iou: the detector's classes, over which the means go, and the IoU that a match must exceed. image_rules: see
    :func:`evaluate_kitti`.
    """

    headline: ClassVar = {"mAP_bev": "mAP BEV", "mAP_3d": "mAP 3D"}
    examples = "mAP_3d, mAP_bev or CLASS/3d/moderate with a class of data.classes"

    def __init__(self, min_iou: Mapping[str, float] = MIN_IOU, image_rules: bool = True) -> None:
        self.min_iou, self.image_rules = min_iou, image_rules
        if not image_rules:
            self.note = (
                "KITTI's rules on image boxes are off (evaluate.image_rules): the labels' image boxes are not the"
                " camera's, so every object counts at every level, in space only"
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

    def keep(self, frame: Frame, found: FrameDetections) -> tuple[Objects, Objects]:
        return labels_of(frame), to_objects(frame, found, unseen=not self.image_rules)

    def score(self, kept: Kept) -> dict[str, float]:
        return kitti_figures(self.evaluate(kept))

    def evaluate(self, kept: Kept) -> Result:
        """All figures of :func:`evaluate_kitti`."""
        return evaluate_kitti(*split(kept), self.min_iou, self.image_rules)

    def write(self, folder: Path, kept: Kept) -> None:
        write_results(folder, split(kept)[1])


@SCORERS.register("nuscenes")
class NuScenesScorer(Scorer):
    """nuScenes, by the devkit: ``NDS``, ``mAP``, ``car/AP`` and so on in percent; the five mean errors and
    ``car/trans_err`` and so on as the devkit has them. Keeps the rows of the official results file.

    classes: the detector's, over which the means go; all ten give the official figures.
    """

    headline: ClassVar = {"mAP": "mAP", "NDS": "NDS"}
    examples = "NDS, mAP or CLASS/AP with a class of data.classes"

    def __init__(self, dataset: NuScenes, classes: list[str] | None = None) -> None:
        if not dataset.whole_split:
            raise ConfigError(
                f"data.max_frames: nuScenes scores whole splits; leave it out, or validate on another split than"
                f" '{dataset.split}'"
            )
        self.dataset = dataset
        self.classes = list(CLASSES) if classes is None else classes
        lacking = [name for name in CLASSES if name not in self.classes]
        if lacking:
            self.note = f"means over the detector's classes; the official ones also count {', '.join(lacking)}"
        self.poses = {keyframe.token: keyframe.global_from_lidar for keyframe in dataset.keyframes}

    @classmethod
    def of(cls, dataset: Dataset, config: Config) -> "NuScenesScorer":
        assert isinstance(dataset, NuScenes)
        return cls(dataset, config.data.classes)

    @classmethod
    def figures(cls, classes: list[str]) -> set[str]:
        return {"mAP", "NDS", *nuscenes.ERRORS.values()} | {
            f"{name}/{figure}" for name in classes for figure in ("AP", *nuscenes.ERRORS)
        }

    def keep(self, frame: Frame, found: FrameDetections) -> list[nuscenes.Row]:
        pose = self.poses[frame.id]
        return nuscenes.submission_rows(frame.id, pose, found.boxes, found.names, found.scores, found.velocities)

    def score(self, kept: Kept) -> dict[str, float]:
        summary = nuscenes.score_rows(kept, self.dataset.root, self.dataset.version, self.dataset.split)
        return nuscenes_figures(nuscenes.of_classes(summary, self.classes))

    def write(self, folder: Path, kept: Kept) -> None:
        with replacing_folder(folder) as temporary:
            nuscenes.write_submission(temporary / nuscenes.RESULTS, kept)


def make_scorer(dataset: Dataset, config: Config) -> Scorer:
    """The scorer of a detector with these settings in a data set. Raises ConfigError where they do not fit."""
    return scorer_of(config.data).of(dataset, config)


def scorer_of(config: DataConfig) -> type[Scorer]:
    """The scorer of the configured data set."""
    return SCORERS[DATASETS[config.kind].scorer]


def headline(data: DataConfig) -> dict[str, str]:
    """The figures that sum up a run on this data set, and what people call them."""
    return scorer_of(data).headline


def check_metric(name: str, data: DataConfig) -> None:
    """Raise ConfigError if ``name`` is not among the figures of a detector of these classes in that data set."""
    scorer = scorer_of(data)
    if name not in scorer.figures(data.classes):
        raise ConfigError(f"'train.best_metric': {data.kind} has no figure called {name!r}; write {scorer.examples}")


def split(kept: Kept) -> tuple[dict[str, Objects], dict[str, Objects]]:
    """Labels and detections that a KittiScorer has kept, by frame id."""
    return {id: pair[0] for id, pair in kept.items()}, {id: pair[1] for id, pair in kept.items()}


def labels_of(frame: Frame) -> Objects:
    """All label rows of a frame, DontCare regions included. Raises DataError for a frame without labels."""
    if frame.objects is None:
        raise DataError(f"frame {frame.id}: has no labels to evaluate against; choose a split with label_2 files")
    if frame.dont_care is None:
        return frame.objects
    joined = (
        np.concatenate([getattr(frame.objects, name), getattr(frame.dont_care, name)])
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


def kitti_figures(result: Result) -> dict[str, float]:
    """The figures that are logged (R40, percent): ``mAP_3d``, ``mAP_bev``, ``Car/3d/moderate`` and so on."""
    means = mean_average_precision(result)
    figures = {f"mAP_{metric}": value for metric, value in means.items()}
    for name, metrics in result.items():
        for metric, recalls in metrics.items():
            for level, value in zip(LEVELS, recalls["R40"], strict=True):
                figures[f"{name}/{metric}/{level.name}"] = value
    return {name: value for name, value in figures.items() if value is not None}


def nuscenes_figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """The devkit's summary as figures by name, the scores in percent; classes without an error term (nan) are left
    out."""
    figures = nuscenes.headline(summary)
    for name, precision in summary["mean_dist_aps"].items():
        figures[f"{name}/AP"] = 100 * precision
        figures |= {f"{name}/{error}": summary["label_tp_errors"][name][error] for error in nuscenes.ERRORS}
    return {name: float(value) for name, value in figures.items() if not np.isnan(value)}
