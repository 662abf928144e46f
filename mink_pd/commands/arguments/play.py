"""The arguments of ``mink-pd play``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.options import add_checkpoint, add_clouds, add_which
from mink_pd.commands.arguments.values import above_zero, positive, probability

DESCRIPTION = (
    "Save a film of a drive with its detections: on the left from behind the sensor, on the right from above. The drive"
    " is a recording, a folder of numbered clouds, a split or scene (--split) or a drive of KITTI (--raw). It opens no"
    " window: play the film, or show a recording and its boxes in Foxglove (detect --mcap)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_checkpoint(parser)
    add_clouds(parser)
    add = parser.add_argument
    add("--save", type=Path, required=True, metavar="FILM", help="file to write: .mp4 or .gif")
    add("--score", type=probability, default=0.3, help="detections below this score are left out")
    add(
        "--rate",
        type=above_zero,
        metavar="HZ",
        help="frames per second; if not given, the drive's own, or 10 if unknown",
    )
    add("--first", type=positive, metavar="N", help="only the first N frames")
    add_which(parser)
