"""Rules of KITTI's evaluation: classes, levels of difficulty, and the role of each row.

Source: the KITTI object benchmark (Geiger et al., CVPR 2012) and its official evaluator.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from mink_pd.data.objects import Objects


@dataclass(frozen=True)
class Level:
    """Limits of a level of difficulty for labels."""

    name: str
    min_height: float  # of the 2D box [px]
    max_occluded: int  # occlusion level
    max_truncated: float  # [0..1]


LEVELS = (Level("easy", 40, 0, 0.15), Level("moderate", 25, 1, 0.30), Level("hard", 25, 2, 0.50))
MIN_IOU = {
    "Car": 0.7,
    "Pedestrian": 0.5,
    "Cyclist": 0.5,
}  # of the benchmark's classes; a match must exceed it
OTHER_MIN_IOU = 0.5  # for classes that the benchmark lacks
NEIGHBOURS = {"car": "van", "pedestrian": "person_sitting"}  # a detection on one of these is not judged

# A label is counted or ignored, a detection is valid or small. UNUSED rows take no part.
UNUSED, COUNTED, IGNORED = 0, 1, 2
VALID, SMALL = 1, 2


def thresholds(classes: Iterable[str], own: Mapping[str, float] | None = None) -> dict[str, float]:
    """The IoU that a match must exceed, by class: the value in ``own``, else the benchmark's, else 0.5.

    Class names are compared case-insensitively, as in the official evaluator.
    """
    known = {name.lower(): iou for name, iou in (MIN_IOU | dict(own or {})).items()}
    return {name: known.get(name.lower(), OTHER_MIN_IOU) for name in classes}


def level_of(name: str) -> Level:
    """The level called ``name``. Raises ValueError if there is none."""
    for level in LEVELS:
        if level.name == name:
            return level
    raise ValueError(f"unknown level {name!r}; choose one of {', '.join(level.name for level in LEVELS)}")


def is_named(objects: Objects, name: str) -> np.ndarray:
    """Mask (B,) of the objects of class ``name``; their names must be in lower case."""
    return objects.names == name.lower()


def _height(objects: Objects) -> np.ndarray:
    return objects.bbox[:, 3] - objects.bbox[:, 1]  # (B,) [px]


def label_roles(labels: Objects, name: str, level: Level, image_rules: bool = True) -> np.ndarray:
    """Role int8 (B,) of each label in the evaluation of class ``name``: COUNTED, IGNORED or UNUSED.

    image_rules: whether the level's limits apply; without them every label of the class is counted.
    """
    same = is_named(labels, name)
    within = (
        (_height(labels) >= level.min_height)
        & (labels.occluded <= level.max_occluded)
        & (labels.truncated <= level.max_truncated)
    )
    roles = np.full(len(labels), UNUSED, dtype=np.int8)
    roles[same] = IGNORED
    roles[same & (within if image_rules else True)] = COUNTED
    if name.lower() in NEIGHBOURS:
        roles[is_named(labels, NEIGHBOURS[name.lower()])] = IGNORED
    return roles


def detection_roles(detections: Objects, name: str, level: Level, image_rules: bool = True) -> np.ndarray:
    """Role int8 (B,) of each detection in the evaluation of class ``name``: VALID, SMALL or UNUSED.

    The official evaluator tests the height before the class, so a small detection of any class is SMALL. Without
    ``image_rules`` no detection is small.
    """
    roles = np.full(len(detections), UNUSED, dtype=np.int8)
    roles[is_named(detections, name)] = VALID
    if image_rules:
        roles[_height(detections) < level.min_height] = SMALL
    return roles
