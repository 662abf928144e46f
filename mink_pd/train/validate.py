"""Validation: detections over a data set, gathered from all processes, and their KITTI figures."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from lightning_fabric import Fabric

from mink_pd.data.batch import Batch
from mink_pd.data.frame import Frame
from mink_pd.data.objects import Objects
from mink_pd.errors import ConfigError, DataError, MinkPDError
from mink_pd.evaluate.kitti import METRICS, Result, evaluate_kitti, mean_average_precision
from mink_pd.evaluate.rules import LEVELS, MIN_IOU
from mink_pd.models import Detector
from mink_pd.train.predict import detect_batches, to_objects
from mink_pd.train.processes import gather, stop_together


@dataclass
class Validation:
    """labels, detections: frame id -> rows; result: all KITTI figures; metrics: the logged ones, by name."""

    labels: dict[str, Objects]
    detections: dict[str, Objects]
    result: Result
    metrics: dict[str, float]


def validate(detector: Detector, batches: Iterable[Batch], fabric: Fabric) -> Validation:
    """Detect in ``batches`` (this process's share of the data set) and evaluate what all processes found.

    Every process returns the figures of the whole data set: the same as a single process would, to the last bit
    where the batches are single frames (in larger ones float32 sums depend on what else is in the batch).
    """
    labels, detections, error = {}, {}, None
    try:
        with fabric.autocast():
            for frame, found in detect_batches(detector, batches):
                labels[frame.id] = labels_of(frame)
                detections[frame.id] = to_objects(frame, found)
    except MinkPDError as raised:
        error = raised
    stop_together(error, fabric.device)
    labels, detections = _join(gather(labels)), _join(gather(detections))
    result = evaluate_kitti(labels, detections)
    return Validation(labels, detections, result, summary(result))


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


def summary(result: Result) -> dict[str, float]:
    """The figures that are logged (R40, percent): ``mAP_3d``, ``mAP_bev``, ``Car/3d/moderate`` and so on."""
    means = mean_average_precision(result)
    figures = {f"mAP_{metric}": value for metric, value in means.items()}
    for name, metrics in result.items():
        for metric, recalls in metrics.items():
            for level, value in zip(LEVELS, recalls["R40"], strict=True):
                figures[f"{name}/{metric}/{level.name}"] = value
    return {name: value for name, value in figures.items() if value is not None}


def check_metric(name: str) -> None:
    """Raise ConfigError if ``name`` is not among the figures that ``summary`` can give."""
    single = {f"{c}/{metric}/{level.name}" for c in MIN_IOU for metric in METRICS for level in LEVELS}
    if name not in {"mAP_3d", "mAP_bev"} | single:
        raise ConfigError(
            f"'train.best_metric': no figure is called {name!r}; write mAP_3d, mAP_bev or Car/3d/moderate"
        )


def _join(parts: list[dict[str, Objects]]) -> dict[str, Objects]:
    """What all processes have, in order of frame id. Frames that several processes have count once."""
    together = {name: objects for part in parts for name, objects in part.items()}
    return dict(sorted(together.items()))
