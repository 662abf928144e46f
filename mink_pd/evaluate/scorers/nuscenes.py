"""nuScenes' detection benchmark, scored by its devkit, and detections in its results file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mink_pd.config import Config
from mink_pd.config.section import Range
from mink_pd.data import Dataset
from mink_pd.data.datasets.nuscenes_dataset import CLASSES, NuScenes
from mink_pd.data.frame import Frame
from mink_pd.data.loading.epochs import keep_boxes
from mink_pd.detect.predict import FrameDetections
from mink_pd.errors import ConfigError
from mink_pd.evaluate import nuscenes
from mink_pd.evaluate.centres import match_centres
from mink_pd.evaluate.panel import Panel, outcomes_of
from mink_pd.evaluate.scorers.scorer import Kept, Scorer
from mink_pd.files import replacing_folder
from mink_pd.registry import SCORERS


@SCORERS.register("nuscenes")
class NuScenesScorer(Scorer):
    """nuScenes, by the devkit: ``NDS``, ``mAP``, ``car/AP`` and so on in percent; the five mean errors and
    ``car/trans_err`` and so on in the devkit's units. It keeps the rows of the official results file.

    classes: the detector's, over which means are taken; all ten give the official figures.
    range: objects count in single frames if their centre is inside; None: everywhere.
    """

    headline: ClassVar = {"mAP": "mAP", "NDS": "NDS"}
    examples = "NDS, mAP or CLASS/AP with a class of data.classes"
    errors = frozenset({*nuscenes.ERRORS, *nuscenes.ERRORS.values()})

    def __init__(self, dataset: NuScenes, classes: list[str] | None = None, range: Range | None = None) -> None:
        self.dataset, self.range = dataset, range
        self.classes = list(CLASSES) if classes is None else classes
        lacking = [name for name in CLASSES if name not in self.classes]
        if lacking:
            self.note = f"means over the detector's classes; the official means include {', '.join(lacking)} as well"
        if not dataset.whole_split:
            self.obstacle = (
                f"data.max_frames: nuScenes scores whole splits; leave it out, or validate on another split than"
                f" '{dataset.split}'"
            )
        self.poses = {keyframe.token: keyframe.global_from_lidar for keyframe in dataset.keyframes}

    @classmethod
    def of(cls, dataset: Dataset, config: Config) -> "NuScenesScorer":
        if not isinstance(dataset, NuScenes):
            raise ConfigError("'evaluate.scorer': nuscenes scores nuScenes only; write clouds")
        if config.evaluate.min_iou:
            raise ConfigError("'evaluate.min_iou': nuScenes matches by distance; omit it, or set evaluate.scorer")
        return cls(dataset, config.data.classes, config.data.range)

    @classmethod
    def figures(cls, classes: list[str]) -> set[str]:
        return {"mAP", "NDS", *nuscenes.ERRORS.values()} | {
            f"{name}/{figure}" for name in classes for figure in ("AP", *nuscenes.ERRORS)
        }

    @classmethod
    def class_figures(cls, name: str) -> dict[str, str]:
        return {f"{name}/AP": "AP"}

    def keep(self, frame: Frame, found: FrameDetections) -> list[nuscenes.Row]:
        pose = self.poses[frame.id]
        return nuscenes.submission_rows(frame.id, pose, found.boxes, found.names, found.scores, found.velocities)

    def score(self, kept: Kept) -> dict[str, float]:
        summary = nuscenes.score_rows(kept, self.dataset.root, self.dataset.version, self.dataset.split)
        return nuscenes_figures(nuscenes.of_classes(summary, self.classes))

    def write(self, folder: Path, kept: Kept) -> None:
        with replacing_folder(folder) as temporary:
            nuscenes.write_submission(temporary / nuscenes.RESULTS, kept)

    def judge(self, frame: Frame, found: FrameDetections, score: float, title: str) -> Panel:
        """Match by distance of centres. Labels without a point or out of range do not count."""
        if self.range is not None:
            frame = keep_boxes(frame, self.range)
        kept, labels = found.scores >= score, np.isin(frame.names, self.classes)
        boxes, names, scores = found.boxes[kept], found.names[kept], found.scores[kept]
        match = match_centres(frame.boxes[labels], frame.names[labels], boxes, names, scores)
        missed = np.flatnonzero(labels)[match.missed]
        unknown = np.full((len(frame.boxes), 2), np.nan)
        of_labels = unknown if frame.velocities is None else frame.velocities
        of_found = np.full((len(boxes), 2), np.nan) if found.velocities is None else found.velocities[kept]
        return Panel(
            title=title,
            boxes=np.concatenate([boxes, frame.boxes[missed]]),
            outcomes=outcomes_of(match.true_positive, ~match.true_positive, len(missed)),
            scores=np.concatenate([scores, np.full(len(missed), np.nan)]),
            names=np.concatenate([names, frame.names[missed]]),
            velocities=np.concatenate([of_found, of_labels[missed]]),
        )


def nuscenes_figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """The devkit's summary as figures by name, with scores in percent. Errors that a class lacks (nan) are omitted."""
    figures = nuscenes.headline(summary)
    for name, precision in summary["mean_dist_aps"].items():
        figures[f"{name}/AP"] = 100 * precision
        figures |= {f"{name}/{error}": summary["label_tp_errors"][name][error] for error in nuscenes.ERRORS}
    return {name: float(value) for name, value in figures.items() if not np.isnan(value)}
