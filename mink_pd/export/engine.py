"""Export for the engine: one file, compared with the detector before it is written."""

from dataclasses import dataclass
from pathlib import Path

import torch

from mink_pd.data.frame import Frames
from mink_pd.data.loading.batch import collate
from mink_pd.detect.engine import Engine
from mink_pd.detect.engine_file import SUFFIX, engine_file
from mink_pd.errors import ConfigError, DataError, ExportError
from mink_pd.export.compare import BOX, SCORE, Agreement, compare_detections
from mink_pd.files import whole_file
from mink_pd.models import Detector


@dataclass(frozen=True)
class EngineReport:
    """frames: clouds that both have seen; agreement: of their detections; size: of the file, in bytes."""

    frames: int
    agreement: Agreement
    size: int


def export_engine(detector: Detector, frames: Frames, out: Path, force: bool) -> EngineReport:
    """Write the file ``out`` after comparing the engine with the detector on ``frames``.

    Raises ConfigError for a detector that the engine cannot run or a file that is there already, DataError if no frame
    has a point in range, and ExportError if the engine finds anything else than the detector; nothing is written then.
    """
    check_out(out, force)
    content = engine_file(detector.eval())
    report = compare(detector, content, frames)
    with whole_file(out, "wb") as file:
        file.write(content)
    return report


def check_out(out: Path, force: bool) -> None:
    """Raise ConfigError for a name that is not one of the engine's files, or a file that ``force`` does not replace."""
    if out.suffix != SUFFIX:
        raise ConfigError(f"--out {out}: the engine's file ends in {SUFFIX}; give NAME{SUFFIX}")
    if out.exists() and not force:
        raise ConfigError(f"{out}: exists already; --force replaces it")


def compare(detector: Detector, content: bytes, frames: Frames) -> EngineReport:
    """What the engine and the detector find in the frames. Raises DataError and ExportError as export_engine does."""
    engine, agreement, seen = Engine(content), Agreement(), 0
    for frame in (frames[index] for index in range(len(frames))):
        batch = collate([frame], detector.classes)
        if not detector.sees(batch):
            continue
        seen += 1
        with torch.inference_mode():
            (expected,) = detector.detect(detector(batch))
        agreement += compare_detections(engine.detect(frame.points), expected, detector.config.model.nms)
    if not seen:
        raise DataError("--frames: no cloud has a point in the detector's range; give clouds of its sensor")
    if not agreement.same:
        raise ExportError(
            f"the engine finds other objects than the detector: {agreement.missing} that only one finds, boxes differ"
            f" by up to {agreement.box:.2g} (allowed {BOX:g}), scores by {agreement.score:.2g} ({SCORE:g})"
        )
    return EngineReport(seen, agreement, len(content))
