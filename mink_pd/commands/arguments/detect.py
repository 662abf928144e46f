"""The arguments of ``mink-pd detect``."""

import argparse
from pathlib import Path
from typing import get_args

from mink_pd.commands.arguments.options import add_clouds, add_which
from mink_pd.commands.arguments.values import above_zero, probability
from mink_pd.export.card import Runtime

DESCRIPTION = (
    "Detect objects in point clouds. Writes NAME.txt in KITTI's format where the calibration is known,"
    " else NAME.json with boxes in the LiDAR frame (x, y, z of the centre, l, w, h, yaw), and velocities where the"
    " detector predicts them. Clouds that have detections already are skipped, so an interrupted call can be repeated;"
    " under torchrun the processes share the clouds. A drive (a recording, or any input with --out NAME.jsonl) gives"
    " one file of JSON lines: frame, stamp [ns], boxes, names, scores."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="RUN_OR_CHECKPOINT", help="run folder, .safetensors file or export folder")
    add_clouds(parser)
    add("--mcap", type=Path, metavar="FILE", help="for a drive: also write the boxes to an MCAP file for Foxglove")
    rate = "with --mcap: frames per second of clouds without time stamps"
    add("--rate", type=above_zero, default=10.0, metavar="HZ", help=rate)
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write to, or NAME.jsonl for a drive")
    add("--score", type=probability, help="lowest score to report; if not given, the configuration's model.nms.score")
    bf16 = "convolve in bfloat16: faster on AMD Zen 4, Intel Sapphire Rapids and later, slightly less exact"
    add("--bf16", action="store_true", help=bf16)
    torch = "compute with torch where the engine could (docs/engine.md): the same boxes, slower"
    add("--no-engine", dest="engine", action="store_false", help=torch)
    runtimes = "what runs an export folder; if not given, the runtime that it was exported for"
    add("--runtime", choices=get_args(Runtime), help=runtimes)
    add("--force", action="store_true", help="replace detections that exist already")
    add_which(parser)
