"""The arguments of ``mink-pd show-detections``."""

import argparse

from mink_pd.commands.arguments.options import add_checkpoint, add_frame, add_save, add_which
from mink_pd.commands.arguments.values import probability

DESCRIPTION = (
    "Show the detections of two detectors on one frame side by side: true positives, false positives and"
    " misses, with counts. Opens a window, or saves a picture with --save."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_checkpoint(parser, "run_a", "detector on the left")
    add_checkpoint(parser, "run_b", "detector on the right")
    add_which(parser)
    parser.add_argument("--names", nargs=2, metavar=("A", "B"), help="titles; the runs' names if not given")
    add_frame(parser, "the left run")
    parser.add_argument("--score", type=probability, default=0.3, help="detections below this score are left out")
    add_save(parser)
