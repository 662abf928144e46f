"""Running a trained detector over frames."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mink_pd.config import Config
from mink_pd.data.frame import Frame
from mink_pd.data.kitti.images import IMAGE_SIZE
from mink_pd.data.kitti.labels import write_objects
from mink_pd.data.kitti.projection import detections_to_objects
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.data.objects import Objects
from mink_pd.errors import MinkPDError
from mink_pd.files import replacing_folder
from mink_pd.models import Detections, Detector

T = TypeVar("T")


@dataclass
class FrameDetections:
    """What was found in one frame, best first.

    boxes: float32 (B, 7), LiDAR frame; names: (B,) class names; scores: float32 (B,) [0..1]; velocities: float32
    (B, 2), x and y [m/s] over the ground, of detectors that predict them.
    """

    boxes: np.ndarray
    names: np.ndarray
    scores: np.ndarray
    velocities: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.boxes)


def detect_frame(detector: Detector, frame: Frame, config: Config) -> FrameDetections:
    """Detections of one frame; none in a cloud that is empty or wholly out of range."""
    return next(detect_batches(detector, [collate([frame], config.data.classes)]))[1]


def detect_batches(detector: Detector, batches: Iterable[Batch]) -> Iterator[tuple[Frame, FrameDetections]]:
    """Each frame of the batches with its detections, in order; the detector is left in the mode it was in."""
    device = next(detector.parameters()).device
    classes = np.array(detector.classes)
    training = detector.training
    detector.eval()
    try:
        for batch in batches:
            with torch.inference_mode():
                prediction = detector(batch.to(device))
                check_finite(prediction, batch)
                found = detector.detect(prediction)
            for frame, one in zip(batch.frames, found, strict=True):
                yield frame, _as_arrays(one, classes)
    finally:
        detector.train(training)


def check_finite(prediction: Any, batch: Batch) -> None:
    """Raise MinkPDError if a network's output has NaN or infinity. Otherwise its boxes would be dropped silently."""
    parts = vars(prediction) if is_dataclass(prediction) else {"output": prediction}
    for name, part in parts.items():
        if isinstance(part, Tensor) and part.is_floating_point() and not part.isfinite().all():
            frames = ", ".join(frame.id for frame in batch.frames)
            raise MinkPDError(
                f"frame {frames}: the detector's {name} are not finite; its weights or the cloud's coordinates are too"
                " large, or its precision too low"
            )


def _as_arrays(found: Detections, classes: np.ndarray) -> FrameDetections:
    boxes, scores = (tensor.float().cpu().numpy() for tensor in (found.boxes, found.scores))
    velocities = None if found.velocities is None else found.velocities.float().cpu().numpy()
    return FrameDetections(boxes, classes[found.labels.cpu().numpy()], scores, velocities)


def detect_frames(
    detector: Detector, frames: Iterable[Frame], config: Config, batch_size: int = 1
) -> Iterator[tuple[Frame, FrameDetections]]:
    """The same for single frames, of which ``batch_size`` at a time go through the network."""
    groups = _groups(frames, batch_size)
    return detect_batches(detector, (collate(group, config.data.classes) for group in groups))


def to_objects(frame: Frame, found: FrameDetections, unseen: bool = False) -> Objects:
    """Detections as rows of a KITTI file; the frame's calibration must be known.

    unseen: keep also the detections that the camera does not see.
    """
    assert frame.calibration is not None
    size = frame.image_size or IMAGE_SIZE
    return detections_to_objects(found.boxes, found.names, found.scores, frame.calibration, size, unseen)


def write_results(folder: Path, detections: dict[str, Objects]) -> None:
    """Write one KITTI file a frame (ID.txt) into ``folder``, which then holds these and no others."""
    with replacing_folder(folder) as temporary:
        for name, objects in detections.items():
            write_objects(temporary / f"{name}.txt", objects)


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
