"""Compares exported networks with the trained detector, stage by stage, before anything is written."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from mink_pd.data.frame import Frames
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.errors import DataError, ExportError
from mink_pd.export.compare import BOX, SCORE, Agreement, compare_detections
from mink_pd.export.heads import HeadMaps
from mink_pd.export.network import level_name
from mink_pd.export.quantise import Quantised
from mink_pd.export.runner import Maps, prediction_of
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.layers.bev import BevFeatures
from mink_pd.sparse import ME, Voxels

SITES = "sites"
OUTPUTS = ("scores", "boxes", "directions", "velocities", "ious")  # of a prediction
FEATURES = 1e-3  # largest allowed difference of a feature or raw output; relative for values above 1


@dataclass(frozen=True)
class Candidate:
    """Networks to compare with the trained detector."""

    maps: Callable[[Voxels, str], Maps]  # voxels of one frame and the frame's name -> maps by name
    detector: BevDetector  # makes the voxels and decodes the boxes
    head: HeadMaps  # makes the prediction from the maps


@dataclass
class Stage:
    """The comparison of one stage."""

    compared: int = 0  # how many numbers
    differences: dict[str, float] = field(default_factory=dict)  # runner -> the largest, divided by max(1, magnitude)

    def add(self, runner: str, ours: Tensor, theirs: Tensor) -> None:
        if not ours.numel():
            return
        difference = ((ours - theirs).abs() / theirs.abs().clamp(min=1)).max()
        worst = float(difference) if bool(torch.isfinite(difference)) else float("inf")
        self.differences[runner] = max(self.differences.get(runner, 0.0), worst)

    def add_count(self, runner: str, count: int) -> None:
        """Add the number of sites that only one side has."""
        self.differences[runner] = self.differences.get(runner, 0.0) + count


@dataclass
class Report:
    """The results of a comparison."""

    frames: int = 0
    detections: int = 0  # of the trained detector
    stages: dict[str, Stage] = field(default_factory=dict)  # by name
    agreements: dict[str, Agreement] = field(default_factory=dict)  # of the detections, by runner
    quantised: Quantised | None = None  # the effects of int8

    def failures(self) -> list[str]:
        """The differences above their bounds, by stage and runner."""
        wrong = [
            f"{name} in {runner} by {difference:.1e}"
            for name, stage in self.stages.items()
            for runner, difference in stage.differences.items()
            if difference > FEATURES
        ]
        for runner, agreement in self.agreements.items():
            if agreement.missing:
                wrong.append(f"{agreement.missing} detections in {runner}")
            elif not agreement.same:
                wrong.append(f"boxes by {agreement.box:.1e}, scores by {agreement.score:.1e} in {runner}")
        return wrong

    def check(self, what: str) -> None:
        """Raise ExportError if anything differs."""
        if wrong := self.failures():
            raise ExportError(f"{what}: not exported, it differs from the trained detector: {', '.join(wrong[:3])}")

    def table(self) -> Table:
        """A table with a row for each stage and a column for each runner."""
        runners = list(self.agreements)
        result = Table(
            title=f"largest differences from the trained detector on {self.frames} clouds",
            box=None,
            padding=(0, 2, 0, 0),
        )
        for heading in ("stage", "compared", *runners, "allowed"):
            result.add_column(heading, justify="left" if heading == "stage" else "right", no_wrap=True)
        for name, stage in self.stages.items():
            values = (f"{stage.differences[key]:.0e}" if key in stage.differences else "–" for key in runners)
            result.add_row(name, f"{stage.compared:,}", *values, f"{FEATURES:.0e}")
        found = f"{self.detections:,}"
        both = [self.agreements[key] for key in runners]
        result.add_row("final boxes", found, *(f"{one.box:.0e}" for one in both), f"{BOX:.0e}")
        result.add_row("scores", found, *(f"{one.score:.0e}" for one in both), f"{SCORE:.0e}")
        result.add_row("in one only", found, *(str(one.missing) for one in both), "0")
        result.add_row("on a threshold", found, *(str(one.edge) for one in both), "")
        return result


def verify(detector: BevDetector, candidates: dict[str, Candidate], frames: Frames) -> Report:
    """Run the trained detector and each candidate on frames, and compare all stages and the boxes.

    Raises DataError if no frame has a point in the detector's range.
    """
    report = Report(agreements={name: Agreement() for name in candidates})
    for frame in (frames[index] for index in range(len(frames))):
        with torch.inference_mode():
            batch = collate([frame], detector.classes)
            if len(detector.shared_input(batch)):
                report.frames += 1
                _verify_frame(detector, candidates, batch, report)
    if report.frames == 0:
        raise DataError("--frames: no cloud has a point in the detector's range; give clouds of its sensor")
    return report


def _verify_frame(detector: BevDetector, candidates: dict[str, Candidate], batch: Batch, report: Report) -> None:
    voxels = detector.shared_input(batch)
    encoded, columns = detector.encoder.encode(voxels)
    bev = detector.bev(encoded, columns)
    read = detector.read(bev, columns)
    score = 0.0 if len(detector.detect(read)[0].boxes) == 0 else detector.settings.nms.score  # nothing proves nothing
    with lowest_score(detector, score):
        wanted = detector.detect(read)[0]
    report.detections += len(wanted.boxes)
    reference = _stages(encoded, bev)
    head = {name: getattr(read, name)[in_order(bev)] for name in OUTPUTS if getattr(read, name, None) is not None}
    sites = sum(len(level.coordinates) for level in bev.levels)
    counts = {name: values.numel() for name, (values, _, _) in reference.items()}
    counts |= {name: values.numel() for name, values in head.items()} | {SITES: sites}
    for name, count in counts.items():
        report.stages.setdefault(name, Stage()).compared += count
    for runner, candidate in candidates.items():
        own = candidate.detector
        theirs = voxels if own is detector else own.shared_input(batch)
        maps = candidate.maps(theirs, batch.frames[0].id)
        for name, (values, coordinates, stride) in reference.items():
            if name in maps:
                report.stages[name].add(runner, _at(maps[name], coordinates, stride), values)
        flat = theirs if own.encoder.dimensions == 2 else theirs.columns()
        prediction = prediction_of(candidate.head, own, maps, flat)
        report.stages[SITES].add_count(runner, abs(_sites(prediction) - sites))
        if _sites(prediction) == sites:
            for name, wanted_values in head.items():
                report.stages[name].add(runner, getattr(prediction, name), wanted_values)
        with lowest_score(own, score), lowest_score(detector, score):
            report.agreements[runner] += compare_detections(own.detect(prediction)[0], wanted, detector.settings.nms)


@contextmanager
def lowest_score(detector: BevDetector, score: float) -> Iterator[None]:
    """Change the score threshold inside the context."""
    nms = detector.settings.nms
    before, nms.score = nms.score, score
    try:
        yield
    finally:
        nms.score = before


def _stages(encoded: "ME.SparseTensor", bev: BevFeatures) -> dict[str, tuple[Tensor, Tensor, int]]:
    """Name of the map -> features (S, C), coordinates (S, 3) and tensor stride, for each stage."""
    result = {"canvas": (encoded.F, encoded.C, encoded.tensor_stride[0])}
    for number, stage in enumerate(bev.stages, start=1):
        result[f"bev{number}"] = (stage.F, stage.C, stage.tensor_stride[0])
    for number, level in enumerate(bev.levels, start=1):
        result[level_name("neck", number)] = (level.cells, level.coordinates, level.stride)
    return result


def in_order(bev: BevFeatures) -> Tensor:
    """Rows (S,) that bring the cells of the levels into the order of maps: by level, then y, then x."""
    rows, before = [], 0
    for level in bev.levels:
        _, x, y = level.coordinates.long().t()
        rows.append(before + (y * (int(x.max()) + 1) + x).argsort())
        before += len(x)
    return torch.cat(rows)


def _sites(prediction: Any) -> int:
    """The number of cells with a prediction."""
    return len(prediction.frame)


def _at(maps: Tensor, coordinates: Tensor, stride: int) -> Tensor:
    """Features (S, C) of a map (1, C, y, x) at coordinates (S, 3) of a tensor stride."""
    _, x, y = torch.div(coordinates.long(), stride, rounding_mode="floor").t()
    return maps[0, :, y, x].t()
