"""Detect objects in point clouds."""

import argparse
import os
from pathlib import Path

import torch
from rich.progress import Progress

from mink_pd import __version__
from mink_pd.cli import console, progress
from mink_pd.commands.input_clouds import POINTS, VIEW, input_files, open_frames, recorded_as
from mink_pd.config import Config, TrainConfig
from mink_pd.data.frame import Frames
from mink_pd.data.recordings import Recording
from mink_pd.detect.bulk import Bulk
from mink_pd.detect.clouds import check_writes
from mink_pd.detect.device import own_device, set_threads
from mink_pd.detect.engine_detector import with_engine
from mink_pd.detect.sequences import Drive, Outputs, check_readable, detect_drive
from mink_pd.errors import ConfigError
from mink_pd.export.card import CARD, digest, holds_graphs, is_export
from mink_pd.export.detector import ExportedDetector
from mink_pd.files import check_writable, make_folder
from mink_pd.models import Detector
from mink_pd.models.checkpoint import checkpoint_file, load_detector
from mink_pd.processes import rank_and_world
from mink_pd.render.colours import class_colours
from mink_pd.sparse import multiplies_bf16
from mink_pd.train.run_folder import identify


def main(options: argparse.Namespace) -> None:
    """Check the inputs, then detect and write one file per cloud. Files of an earlier call are kept."""
    detector, config, identity = open_detector(options)
    device = torch.device("cpu") if isinstance(detector, ExportedDetector) else own_device(config.train)
    if options.bf16:
        check_bf16(config.model.name, device)
    if options.score is not None:
        config.model.nms.score = options.score
    settings = {
        "mink_pd": __version__,
        "checkpoint": identity,
        "score": config.model.nms.score,
        "calib": None if options.calib is None else str(options.calib.resolve()),
        "bf16": options.bf16,
    }
    data = recorded_as(options, config.data)
    settings |= data.model_dump(mode="json", include={*POINTS, *VIEW})
    config.data = data
    frames = open_frames(options, data)
    outputs = drive_outputs(options, frames, config.data.classes)
    if outputs is None:
        check_writes(frames, config.data.classes)
    detector.to(device)
    if options.engine and not options.bf16:
        detector = with_engine(detector)
    if outputs is not None:
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
            detect_in_drive(detector, config, frames, outputs)
        return
    rank, world = rank_and_world()
    bulk = Bulk(frames, options.out, settings, rank, world)
    bulk.open(options.force)
    before = sum(bulk.done(index) for index in range(len(frames)))
    with Progress(console=console, transient=True, disable=rank > 0 or not console.is_terminal) as bar:
        task = bar.add_task("detecting", total=len(frames), completed=before)
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
            for done in bulk.detect(detector, config):
                bar.update(task, completed=done)
    if rank == 0:
        earlier = f", {before} of them found earlier" if before and world == 1 else ""
        console.print(f"{options.out}: {bulk.objects()} objects in {len(frames)} point clouds{earlier}", soft_wrap=True)
        report_dropped(options.out, bulk.dropped)
        report_view(options.out, bulk)


def report_dropped(out: Path, dropped: int) -> None:
    """Print how many points were left out."""
    if dropped:
        left_out = "points were left out: NaN, infinite, at the origin or on the own vehicle"
        console.print(f"{out}: {dropped} {left_out}", soft_wrap=True)


def report_view(out: Path, bulk: Bulk) -> None:
    """Say that nothing was looked for outside the camera's view: a layout of a LiDAR alone may have invented one."""
    if bulk.cut:
        left_out = f", {bulk.unseen} boxes outside it were left out" if bulk.unseen else ""
        text = f"clouds were cut to the camera's view{left_out}; --all-around keeps all (into another --out)"
        console.print(f"{out}: {text}", soft_wrap=True)


def open_detector(options: argparse.Namespace) -> tuple[Detector, Config, str]:
    """A trained or exported detector, its configuration, and a checksum that identifies it."""
    if is_export(options.checkpoint) or holds_graphs(options.checkpoint):
        if options.bf16:
            raise ConfigError("command line: --bf16 is for sparse convolutions; leave it out for an export")
        set_threads(TrainConfig())
        detector = ExportedDetector(options.checkpoint, options.runtime)
        return detector, detector.config, f"{digest(options.checkpoint / CARD)} {detector.runtime}"
    if options.runtime:
        raise ConfigError(f"command line: --runtime is for a folder that export has written, not {options.checkpoint}")
    checkpoint = checkpoint_file(options.checkpoint, options.which)
    return *load_detector(checkpoint), identify({"": checkpoint})[""]["sha256"]


def drive_outputs(options: argparse.Namespace, frames: Frames, classes: list[str]) -> Outputs | None:
    """The output files of a drive; None if every cloud gets its own file. Raises ConfigError before any work."""
    lines = options.out
    if lines.suffix.lower() != ".jsonl":
        if not isinstance(frames, Recording):
            if options.mcap:
                raise ConfigError("command line: --mcap goes with a recording, or with --out NAME.jsonl")
            return None
        lines = lines / f"{Path(os.path.abspath(frames.path)).stem}.jsonl"  # which names . and .. as well
    if rank_and_world()[1] > 1:
        raise ConfigError("command line: a drive is for a single process; start it without torchrun")
    check_apart(options, frames, lines)
    for path in filter(None, (lines, options.mcap)):
        if path.exists() and not options.force:
            raise ConfigError(f"{path}: is there already; --force replaces it, another name keeps it")
    make_folder(lines.parent)
    for path in (lines, options.mcap):
        check_writable(path)
    return Outputs(lines, options.mcap, class_colours(classes), options.rate)


def check_apart(options: argparse.Namespace, frames: Frames, lines: Path) -> None:
    """Raise ConfigError if an output file is what detection reads, or if both outputs are one file. Links are resolved.

    An MCAP file does not go into an input folder either, which would then pass for a recording.
    """
    read = input_files(options, frames)
    for path in filter(None, (lines, options.mcap)):
        if path.resolve() in read:
            raise ConfigError(f"{path}: detection reads this file; write to another one")
    if options.mcap is None:
        return
    if options.mcap.resolve() == lines.resolve():
        raise ConfigError(f"{options.mcap}: --out and --mcap both name this file; give each its own")
    if options.mcap.resolve().parent in read:
        raise ConfigError(f"{options.mcap}: lies in a folder of the input; write the MCAP file to another folder")


def detect_in_drive(detector: Detector, config: Config, frames: Frames, outputs: Outputs) -> None:
    """Read every frame once, then detect in all of them and write the files."""
    drive = Drive.of(frames)
    with progress("reading", len(drive)) as advance:
        check_readable(drive, advance)
    with progress("detecting", len(drive)) as advance:
        objects, dropped = detect_drive(detector, config, drive, outputs, advance)
    also = f", boxes for Foxglove in {outputs.mcap}" if outputs.mcap else ""
    console.print(f"{outputs.lines}: {objects} objects in {len(drive)} point clouds{also}", soft_wrap=True)
    report_dropped(outputs.lines, dropped)


def check_bf16(detector: str, device: torch.device) -> None:
    """Raise ConfigError if bfloat16 would not be faster."""
    if detector == "pointrcnn":
        raise ConfigError("command line: --bf16 is for sparse convolutions, which pointrcnn lacks; leave it out")
    if device.type != "cpu" or not multiplies_bf16():
        raise ConfigError("command line: --bf16 needs a CPU with AVX512_BF16, and the compiled path; leave it out")
