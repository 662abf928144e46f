"""Export a trained detector for the runtimes of vehicles."""

import argparse
from pathlib import Path

from mink_pd.cli import console
from mink_pd.commands.options import add_checkpoint, add_which, positive
from mink_pd.detect.device import set_threads
from mink_pd.errors import ConfigError
from mink_pd.export.card import CARD, is_export
from mink_pd.export.frames import CALIBRATED, SIMULATED, proof_frames
from mink_pd.export.networks import Settings
from mink_pd.export.write import TABLE, TARGETS, Source, export
from mink_pd.models.checkpoint import checkpoint_file, load_detector

DESCRIPTION = (
    "Export a detector as ordinary dense networks, with model.yaml, which has every number that a runtime needs."
    " Before anything is written the networks run in ONNX Runtime and OpenVINO on real or simulated clouds, and every"
    " stage and the boxes are compared with the detector's. 'detect' runs the folder."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    add_checkpoint(parser)
    add("--to", choices=tuple(TARGETS), default="onnx", help="runtime that the files are for")
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    frames = f"clouds to compare on, files or folders; {SIMULATED} simulated ones if not given"
    add("--frames", type=Path, nargs="+", metavar="CLOUDS", help=frames)
    add("--opset", type=positive, help="of the ONNX graphs, 11 to 20; what the target wants, if not given")
    add("--pillars", type=positive, metavar="N", help="fixed number of pillars; any number if not given")
    add("--slots", type=positive, metavar="N", help="points of a pillar in one row; more points take more rows")
    add("--int8", action="store_true", help="quantise backbone, neck and head, calibrated on the clouds")
    add("--force", action="store_true", help="replace an earlier export")
    add_which(parser)


def main(options: argparse.Namespace) -> None:
    """Check, write to a folder of another name, compare, and give the folder its name."""
    check_out(options.out, options.force)
    weights = checkpoint_file(options.checkpoint, options.which)
    detector, config = load_detector(weights)
    set_threads(config.train)
    settings = Settings(options.to, options.opset, options.pillars, options.slots, options.int8)
    frames = proof_frames(options.frames, config.data, CALIBRATED if options.int8 else SIMULATED)
    report = export(detector, Source(weights, config.name or weights.stem), settings, frames, options.out, console)
    equal = f"equal to the detector on {report.frames} clouds"
    if options.int8:
        equal = f"in float {equal}, then quantised: score the folder with detect and eval-kitti"
    console.print(f"{options.out}: {CARD}, {TABLE} and the networks, {equal}", soft_wrap=True)


def check_out(out: Path, force: bool) -> None:
    """Raise ConfigError for a place that holds something else, or an export that ``force`` does not replace."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not is_export(out):
        raise ConfigError(f"{out}: exists and is not an export; choose another --out")
    if not force:
        raise ConfigError(f"{out}: holds an export already; --force replaces it")
