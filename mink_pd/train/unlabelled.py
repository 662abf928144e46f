"""The unlabelled frames of a distillation: their sources, their identity, and the scores of their pseudo-labels."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mink_pd.config import Config, DataConfig
from mink_pd.config.unlabelled import UnlabelledConfig
from mink_pd.data import Dataset, open_dataset, open_split, open_training, whole_frames
from mink_pd.data.clouds.cloud_description import DESCRIPTION
from mink_pd.data.dataset import FewerBeams, Key
from mink_pd.data.formats import SUFFIXES
from mink_pd.data.frame import Frame, Frames
from mink_pd.data.kitti.kitti_raw import open_raw
from mink_pd.data.kitti.labels import read_all_objects
from mink_pd.data.loading.epochs import crop_points
from mink_pd.data.loading.unlabelled import UnlabelledFrames, in_lidar_frame
from mink_pd.data.recordings import Recording, is_recording
from mink_pd.data.same_clouds import CloudFiles
from mink_pd.data.splits import check_labelled, common_frames, named
from mink_pd.detect.clouds import SCANS, PointFiles
from mink_pd.detect.predict import FrameDetections, detect_frames
from mink_pd.distill.unlabelled import Levels, PseudoLabels, summary
from mink_pd.errors import ConfigError, DataError, MinkPDError
from mink_pd.evaluate.detection_files import read_detections
from mink_pd.evaluate.score_levels import level_of_precision, rank_boxes
from mink_pd.models import Detector
from mink_pd.registry import DATASETS
from mink_pd.train.run_folder import UNLABELLED, Files, identify_data

FEWEST = 10  # with fewer labelled objects of a class, a precision means nothing
_SCANS = Path("velodyne_points") / "data"  # of a raw drive
_OPENED: dict[str, "Unlabelled"] = {}  # by settings; a training asks several times, and opening reads a whole recording


class Unlabelled:
    """The frames of ``distill.unlabelled``, and the boxes that replace labels in them.

    share: numbers of labelled and unlabelled frames in a batch of one process. opening: lines about the frames for the
    user; notes: the same, and lines about the scores after :meth:`labels` has chosen them.
    """

    def __init__(self, config: Config) -> None:
        """Open the sources. Raises DataError or ConfigError if one cannot be read or does not fit the settings."""
        self.config, self.settings = config, config.distill.unlabelled
        self.share = self.settings.batch_of(config.train.batch_size)
        data = config.data
        sources = [open_source(text, data, self.settings.topic, self.settings.calib) for text in self.settings.paths]
        known = labelled_clouds(data, with_training=self.share[0] > 0)
        self.frames = UnlabelledFrames(sources, data.point_features, data.has_velocities, known)
        if self.settings.boxes is not None:
            self.frames.give_boxes(read_boxes(self.settings.boxes, self.frames.ids, data))
            self.frames[0]  # raises an error if its boxes lack a calibration
        labelled, unlabelled = self.share
        self.opening = [
            f"{len(self.frames):,} unlabelled frames of {', '.join(self.settings.paths)}; a batch has {unlabelled} of"
            f" them and {labelled} labelled ones"
        ]
        if self.frames.left_out:
            self.opening.append(f"{self.frames.left_out:,} others are labelled or validation frames and left out")
        self.opening += [
            f"whether clouds of {source.path} are validation frames cannot be seen; see to it that none is"
            for source in sources
            if isinstance(source, Recording)
        ]
        self.notes = self.opening.copy()

    @property
    def inputs(self) -> list[Path]:
        """The files and folders that are read."""
        data = self.config.data
        folders = [
            root_and_split(text, data)[0] if names_split(text) else Path(text).expanduser()
            for text in self.settings.paths
        ]
        return [*folders, *([self.settings.boxes] if self.settings.boxes else [])]

    def identity(self) -> str:
        """A digest of the unlabelled frames, and of the labelled frames on which scores are chosen."""
        digest = hashlib.sha256(self.frames.identity().encode())
        if self.chooses:
            digest.update(self.held_out().identity().encode())
        return digest.hexdigest()

    @property
    def chooses(self) -> bool:
        """Whether a score must be chosen on labelled frames."""
        given = (self.settings.upper, self.settings.lower)
        return any(name not in scores for scores in given for name in self.config.data.classes)

    def held_out(self) -> Dataset:
        """The labelled frames for choosing scores. Raises ConfigError if the run is evaluated on some of them,
        DataError if some have no labels."""
        data, key = self.config.data, "distill.unlabelled.held_out"
        if self.settings.held_out is None:
            if not self.share[0]:
                raise ConfigError(
                    f"'{key}': without labelled training frames, name the split to choose scores on, or give"
                    " distill.unlabelled.upper and lower for every class"
                )
            return open_training(data)
        root, split = root_and_split(self.settings.held_out, data)
        dataset = check_labelled(open_split(data, root, split), key)
        if judged := common_frames(dataset, open_dataset(data, data.val_split)):
            raise ConfigError(
                f"'{key}': {len(judged)} of {len(dataset)} frames are validation frames ({named(judged)}); name others"
            )
        return dataset

    def labels(self, teacher: Detector) -> PseudoLabels:
        """The pseudo-labels, with given or chosen scores. Raises ConfigError for a score that no box can have."""
        names, settings = self.config.data.classes, self.settings
        from_files = settings.boxes is not None
        least = -math.inf if from_files else teacher.config.model.nms.score
        for key in ("upper", "lower"):
            for name, score in getattr(settings, key).items():
                if score < least:
                    raise ConfigError(
                        f"'distill.unlabelled.{key}.{name}': {score:g} is below {least:g}, the lowest score of the"
                        " teacher's boxes (its model.nms.score); raise it"
                    )
        self.notes = self.opening.copy()
        if self.chooses:
            levels = self._chosen(teacher)
        else:
            levels = {name: Levels(settings.upper[name], settings.lower[name]) for name in names}
        self.notes.append(f"objects from, ignored from a score of: {summary(levels)}")
        return PseudoLabels([levels[name] for name in names], from_files)

    def _chosen(self, teacher: Detector) -> dict[str, Levels]:
        dataset = self._as_taught(teacher)
        count = min(len(dataset), self.settings.held_out_frames)
        rows = np.linspace(0, len(dataset) - 1, count).astype(int).tolist()
        frames = [crop_points(dataset[row], self.config.data.range) for row in rows]
        keys = dataset.keys()
        self.notes.append(self._origin(teacher, [keys[row] for row in rows]))
        return choose_levels(frames, self._boxes_in(teacher, frames), self.config.data.classes, self.settings)

    def _as_taught(self, teacher: Detector) -> Dataset:
        """The held-out frames with the beams that the teacher sees in training."""
        whole, own = whole_frames(self.held_out()), self.config.distill.teacher_points == "all"
        beams = (teacher.config if own else self.config).data.beams
        return whole if beams is None else FewerBeams(whole, beams)

    def _boxes_in(self, teacher: Detector, frames: list[Frame]) -> list[FrameDetections]:
        if self.settings.boxes is None:
            return [found for _, found in detect_frames(teacher, frames, self.config)]
        boxes = read_boxes(self.settings.boxes, [frame.id for frame in frames], self.config.data)
        return [FrameDetections(*in_lidar_frame(boxes[frame.id], frame)) for frame in frames]

    def _origin(self, teacher: Detector, chosen: list[Key]) -> str:
        settings = self.settings
        text = (
            f"scores chosen on {len(chosen)} labelled frames of {settings.held_out or 'the training'}: precision"
            f" {settings.upper_precision:g} for objects, {settings.lower_precision:g} for ignored boxes"
        )
        return text if settings.boxes is not None else text + _taught(teacher, chosen)


def _taught(teacher: Detector, chosen: list[Key]) -> str:
    """What to add about those of the frames on which the teacher was trained; empty if there are none."""
    try:
        known = set(open_training(teacher.config.data).keys())
    except MinkPDError:
        return "; the teacher's training frames cannot be opened, so whether it was trained on these is not known"
    count = sum(key in known for key in chosen)
    if not count:
        return ""
    which = "them" if count == len(chosen) else f"{count} of them"
    return f"; the teacher was trained on {which}, so the scores are too low: name others, distill.unlabelled.held_out"


def forget_opened() -> None:
    """Make the next training open all files and folders again."""
    _OPENED.clear()


def open_unlabelled(config: Config) -> Unlabelled | None:
    """The unlabelled frames of a distillation; None if it has none."""
    if not config.distill.unlabelled.paths:
        return None
    key = config.model_dump_json(include={"data", "distill", "train"})
    if key not in _OPENED:
        _OPENED[key] = Unlabelled(config)
    return _OPENED[key]


def identify_frames(config: Config, unlabelled: Unlabelled | None) -> Files:
    """Path and digest of all frames that a training uses. Raises DataError, ConfigError."""
    if unlabelled is None:
        return identify_data(config.data)
    key = str(unlabelled.inputs[0].resolve())
    own = {UNLABELLED: {"path": key, "sha256": unlabelled.identity()}}
    return identify_data(config.data, labelled=unlabelled.share[0] > 0) | own


def open_source(text: str, data: DataConfig, topic: str | None = None, calib: Path | None = None) -> Frames:
    """The frames of one path of ``distill.unlabelled.paths``. Raises DataError naming what is missing or malformed."""
    if names_split(text):
        return open_split(data, *root_and_split(text, data))
    path = Path(text).expanduser()
    if is_recording(path):
        return Recording(path, topic, data, data.point_features)
    if (path / _SCANS).is_dir():
        day = path.absolute().parent
        return open_raw(day.parent, day.name, path.name, camera_view=data.camera_view, point_settings=data)
    if (path / DESCRIPTION).is_file():
        return open_dataset(DATASETS["clouds"].Settings(root=path), "all")
    return PointFiles([path], calib, data.camera_view, data.point_features, data, data.image_size)


def names_split(text: str) -> bool:
    """Whether a text is ROOT:SPLIT, and not the name of an existing file or folder."""
    return ":" in text and not Path(text).expanduser().exists()


def root_and_split(text: str, data: DataConfig) -> tuple[Path, str]:
    """Root and split of ROOT:SPLIT, or of SPLIT, which is a split of the data set itself."""
    root, _, split = text.rpartition(":")
    return (Path(root).expanduser() if root else data.root), split


def labelled_clouds(data: DataConfig, with_training: bool) -> CloudFiles:
    """The clouds that must not be unlabelled frames.

    These are all clouds of the validation frames, including their sweeps, and the clouds of labelled training frames.
    Earlier sweeps of training frames may be used.
    """
    judged = open_dataset(data, data.val_split)
    clouds = {path for index in range(len(judged)) for path in judged.paths(index) if path.suffix.lower() in SUFFIXES}
    if with_training:
        trained = open_training(data)
        clouds |= {path for index in range(len(trained)) for path in trained.paths(index)[:1]}
    return CloudFiles(clouds | {twin for path in clouds for twin in _twins(path)})


def _twins(cloud: Path) -> list[Path]:
    """The same scan in the other folder of KITTI's layout: only one of the two is read."""
    if cloud.parent.name not in SCANS:
        return []
    return [twin for name in SCANS if (twin := cloud.parents[1] / name / cloud.name).is_file()]


def read_boxes(folder: Path, ids: list[str], data: DataConfig) -> Mapping[str, Any]:
    """Detections in the frames from any source: ID.txt (KITTI, with scores), or ID.json (LiDAR frame). Raises
    DataError."""
    texts = [folder / f"{id}.txt" for id in ids]
    if not texts[0].is_file():
        return read_detections(folder, ids, data.classes)
    missing = next((path for path in texts if not path.is_file()), None)
    if missing is not None:
        raise DataError(f"{missing}: missing; write the detections of every frame (an empty file if there are none)")
    return dict(zip(ids, read_all_objects(texts, classes=data.classes, scores=True), strict=True))


def choose_levels(
    frames: list[Frame], found: list[FrameDetections], classes: list[str], settings: UnlabelledConfig
) -> dict[str, Levels]:
    """The scores of each class, given or chosen by precision on labelled frames.

    If a class has fewer than FEWEST objects, no box is an object and all are ignored. If no score reaches the upper
    precision, no box is an object. If none reaches the lower one, all boxes below the upper score are ignored.
    """
    levels = {}
    for name in classes:
        ranking = rank_boxes(frames, found, name, settings.min_iou)
        known = ranking.counted >= FEWEST
        upper = level_of_precision(ranking, settings.upper_precision) if known else math.inf
        lower = level_of_precision(ranking, settings.lower_precision) if known else -math.inf
        upper = settings.upper.get(name, upper)
        lower = settings.lower.get(name, -math.inf if lower == math.inf else lower)
        levels[name] = Levels(max(upper, lower), lower) if name in settings.lower else Levels(upper, min(lower, upper))
    return levels
