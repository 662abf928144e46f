"""The arguments of ``mink-pd show-labels``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.options import add_frame_id
from mink_pd.commands.arguments.values import positive

DESCRIPTION = (
    "Show frames of a data set with their labelled boxes, to see whether the conventions of the labels are right: one"
    " frame in a window or, with --save, several on one HTML page that also lists what looks wrong."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder of clouds, or in KITTI's or nuScenes' layout")
    add("--kind", metavar="KIND", help="data.kind of the folder; if not given, its layout tells")
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
