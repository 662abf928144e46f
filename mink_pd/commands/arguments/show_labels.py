"""The arguments of ``mink-pd show-labels``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.options import add_frame_id, add_layout
from mink_pd.commands.arguments.values import positive

DESCRIPTION = (
    "Show frames of a data set with their labelled boxes, to see whether the conventions of the labels are right: one"
    " frame in a window or, with --save, several on one HTML page that also lists what looks wrong."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_layout(parser)
    add = parser.add_argument
    add("--split", help="split to show; if not given, all frames with labels")
    add_frame_id(parser)
    add(
        "--frames",
        type=positive,
        default=8,
        metavar="N",
        help="with --save: number of frames, evenly spread over the split",
    )
    add("--save", type=Path, metavar="HTML", help="write a page instead of opening a window")
