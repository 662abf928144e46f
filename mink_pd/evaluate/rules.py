"""Who takes part in KITTI's evaluation: classes, levels of difficulty, and the role of each row.

Source: the KITTI object benchmark (Geiger et al., CVPR 2012) and its official evaluator.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mink_pd.data.objects import Objects


@dataclass(frozen=True)
class Level:
    """Limits of a level of difficulty: 2D box height [px], occlusion level and truncation [0..1] of a
    label."""

    name: str
    min_height: float
    max_occluded: int
    max_truncated: float


LEVELS = (Level("easy", 40, 0, 0.15), Level("moderate", 25, 1, 0.30), Level("hard", 25, 2, 0.50))
MIN_IOU = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}  # the benchmark's classes; a match needs more than this
OTHER_MIN_IOU = 0.5  # of classes that the benchmark lacks
NEIGHBOURS = {"car": "van", "pedestrian": "person_sitting"}  # finding one is neither right nor wrong

# Role of a label: counted or ignored. Role of a detection: valid or small. ABSENT rows take no part.
ABSENT, COUNTED, IGNORED = 0, 1, 2
VALID, SMALL = 1, 2


def thresholds(classes: Iterable[str], own: Mapping[str, float] | None = None) -> dict[str, float]:
    """The IoU that a match must exceed, for each class: as in ``own``, else as in the benchmark, else 0.5.

    Case makes no difference, as in the official evaluator.
    """
    known = {name.lower(): iou for name, iou in (MIN_IOU | dict(own or {})).items()}
    return {name: known.get(name.lower(), OTHER_MIN_IOU) for name in classes}


def level_of(name: str) -> Level:
    """The level called ``name``; ValueError when there is none."""
    for level in LEVELS:
        if level.name == name:
            return level
    raise ValueError(f"unknown level {name!r}; choose one of {', '.join(level.name for level in LEVELS)}")


def is_named(objects: Objects, name: str) -> np.ndarray:
    """Rows (B,) bool of that class, of objects whose names are in lower case."""
    return objects.names == name.lower()


def _height(objects: Objects) -> np.ndarray:
    return objects.bbox[:, 3] - objects.bbox[:, 1]  # (B,) [px]


def label_roles(labels: Objects, name: str, level: Level, image_rules: bool = True) -> np.ndarray:
    """Role of each label (B,) in the evaluation of class ``name``: int8 COUNTED, IGNORED or ABSENT.

    image_rules: whether the level's limits apply; without them every label of the class is counted.
    """
    same = is_named(labels, name)
    within = (
        (_height(labels) >= level.min_height)
        & (labels.occluded <= level.max_occluded)
        & (labels.truncated <= level.max_truncated)
    )
    roles = np.full(len(labels), ABSENT, dtype=np.int8)
    roles[same] = IGNORED
    roles[same & (within if image_rules else True)] = COUNTED
    if name.lower() in NEIGHBOURS:
        roles[is_named(labels, NEIGHBOURS[name.lower()])] = IGNORED
    return roles


def detection_roles(detections: Objects, name: str, level: Level, image_rules: bool = True) -> np.ndarray:
    """Role of each detection (B,) in the evaluation of class ``name``: int8 VALID, SMALL or ABSENT.

    The official evaluator tests the height before the class: a small detection of any class takes part as
    small. Without ``image_rules`` no detection is small.
    """
    roles = np.full(len(detections), ABSENT, dtype=np.int8)
    roles[is_named(detections, name)] = VALID
    if image_rules:
        roles[_height(detections) < level.min_height] = SMALL
    return roles
