"""Export for the engine: one file, compared with the detector before it is written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mink_pd.data.frame import Frame, Frames
from mink_pd.data.loading.batch import collate
from mink_pd.detect.engine import Engine
from mink_pd.detect.engine_detector import EngineDetector
from mink_pd.detect.engine_file import SUFFIX, engine_file
from mink_pd.errors import ConfigError, DataError, ExportError
from mink_pd.export.compare import BOX, SCORE, Agreement, compare_detections
from mink_pd.export.engine_int8 import Input, Int8Network, network_input
from mink_pd.export.quantise import PROBES, RUINED, Figures, Quantised, measure_losses, select
from mink_pd.export.write import CALIBRATION, Score
from mink_pd.files import check_writable, whole_file
from mink_pd.models import Detector
from mink_pd.models.bev_detector import BevDetector

INT8_SLACK = 20  # of boxes and scores in 8 bits, as a multiple of what is allowed in float32


@dataclass(frozen=True)
class EngineReport:
    """frames: clouds that both have seen; agreement: of their detections in float32; size: of the file, in bytes;
    quantised: None in float32."""

    frames: int
    agreement: Agreement
    size: int
    quantised: Quantised | None = None


def export_engine(
    detector: Detector, frames: Frames, out: Path, force: bool, int8: bool = False, score: Score | None = None
) -> EngineReport:
    """Write the file ``out`` after comparing the engine with the detector on ``frames``.

    int8: in 8 bits, calibrated on at most CALIBRATION of the frames; score: gives the AP of a detector, which measures
    what 8 bits cost.

    Raises ConfigError for a detector that the engine cannot run or a file that is there already, DataError if it cannot
    be written or no frame has a point in range, and ExportError if the engine finds anything else than the detector or
    8 bits ruin it; nothing is written then.
    """
    check_out(out, force)
    content = engine_file(detector.eval())
    report = compare(detector, content, frames)
    if int8:
        content, quantised = quantise_engine(detector, content, frames, score)
        report = replace(report, size=len(content), quantised=quantised)
    with whole_file(out, "wb") as file:
        file.write(content)
    return report


def quantise_engine(detector: Detector, float32: bytes, frames: Frames, score: Score | None) -> tuple[bytes, Quantised]:
    """The file in 8 bits, and what these cost. Errors as of export_engine."""
    assert isinstance(detector, BevDetector)
    some = [frames[index] for index in range(min(len(frames), CALIBRATION))]
    seen = [(frame, one) for frame in some if (one := network_input(detector, frame)) is not None]
    network = Int8Network(detector, [one for _, one in seen])
    quantised = select(network.names, network.error)
    if quantised.error > RUINED:
        raise ExportError(f"int8 changes the outputs by {quantised.error:.2f} of their variance; leave out --int8")
    content = network.content(quantised.float32())
    check_int8(detector, network, content, quantised.float32(), seen[:PROBES])
    if score is not None:
        measured = FileDetector(detector)

        def figures(name: str, chosen: set[str]) -> Figures:
            measured.use(network.content(chosen))
            return score(name, measured)

        measured.use(float32)
        measure_losses(quantised, score("float32", measured), figures)
    return content, quantised


class FileDetector(EngineDetector):
    """A detector that detects with the engine, from a file that is given."""

    def use(self, content: bytes) -> None:
        """Detect with this file from now on."""
        self._file = Engine(content, torch.get_num_threads())

    def _current(self) -> Engine:
        return self._file


def check_out(out: Path, force: bool) -> None:
    """Raise ConfigError for a name that is not one of the engine's files, or a file that ``force`` does not replace,
    and DataError where no file can be written."""
    if out.suffix != SUFFIX:
        raise ConfigError(f"--out {out}: the engine's file ends in {SUFFIX}; give NAME{SUFFIX}")
    check_writable(out)
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


def check_int8(
    detector: BevDetector, network: Int8Network, content: bytes, float32: set[str], seen: Sequence[tuple[Frame, Input]]
) -> None:
    """Raise ExportError unless the engine finds in the clouds what plain NumPy finds with the same integers.

    The engine's encoder rounds otherwise than torch's, so that a code in a hundred thousand differs by one: the limits
    are wider than those of a file in float32.
    """
    engine, agreement = Engine(content), Agreement()
    for frame, one in seen:
        expected = network.detect(detector, frame, one, float32)
        agreement += compare_detections(engine.detect(frame.points), expected, detector.config.model.nms, INT8_SLACK)
    if not agreement.same:
        raise ExportError(
            f"the engine computes other integers than it should: {agreement.missing} detections that only one finds,"
            f" boxes differ by up to {agreement.box:.2g}, scores by {agreement.score:.2g}"
        )
