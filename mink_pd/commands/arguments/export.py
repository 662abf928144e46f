"""The arguments of ``mink-pd export``."""

import argparse
from pathlib import Path
from typing import get_args

from mink_pd.commands.arguments.options import add_checkpoint, add_data, add_which
from mink_pd.commands.arguments.values import positive
from mink_pd.export.card import Target

DESCRIPTION = (
    "Export a detector as ordinary dense networks, with model.yaml, which has every number that a runtime needs."
    " Before it writes the folder, it runs the networks in ONNX Runtime and OpenVINO on real or simulated clouds and"
    " compares every stage and the boxes with the detector's. mink-pd detect runs the folder. With --to engine it"
    " writes one file for libminkpd and minkpd-detect, after comparing their boxes with the detector's."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    add_checkpoint(parser)
    target = "runtime that the files are for; engine: libminkpd, which runs points to boxes on a CPU"
    add("--to", choices=(*get_args(Target), "engine"), default="onnx", help=target)
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write; for the engine NAME.mpd, one file")
    frames = "clouds to compare on, files or folders; simulated ones if not given"
    add("--frames", type=Path, nargs="+", metavar="CLOUDS", help=frames)
    add("--opset", type=positive, help="opset of the ONNX graphs, 11 to 20; if not given, the target's")
    add("--pillars", type=positive, metavar="N", help="fixed number of pillars; if not given, any number")
    add(
        "--slots",
        type=positive,
        metavar="N",
        help="points per row of a pillar; a pillar with more points takes several rows",
    )
    add("--int8", action="store_true", help="quantise backbone, neck and head; the clouds calibrate their ranges")
    split = "with --int8: measure the AP in float32, in int8 and with each layer left in float32 on this split of the"
    add("--split", metavar="NAME", help=f"{split} run's data set, which must have labels")
    add("--split-frames", type=positive, metavar="N", help="with --split: its first N frames; if not given, all")
    add_data(parser, "the run's", "with --split: ")
    add("--force", action="store_true", help="replace an earlier export")
    add_which(parser)
