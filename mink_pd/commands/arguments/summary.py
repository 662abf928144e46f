"""The arguments of ``mink-pd summary``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.values import compressions, positive

DESCRIPTION = (
    "Print parameters, multiply-adds and milliseconds per frame of detectors and their students, and the ratios to the"
    " first compression. Sparse layers are counted by the frame's kernel maps, dense layers by their cells."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    configs = "configurations: YAML files, or names of those in configs/, e.g. pointpillars_kitti"
    add("configs", nargs="+", metavar="CONFIG", help=configs)
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="key=value",
        help="settings that override the files', e.g. model.bev=dense",
    )
    add("--frame", type=Path, metavar="CLOUD", help="point cloud to count on; if not given, a simulated one")
    add(
        "--compressions",
        type=compressions,
        default="1,2,4,8,16",
        metavar="LIST",
        help="values of model.compression, one row each",
    )
    add("--runtimes", action="store_true", help="also export the detectors and time them in each runtime")
    add("--repeats", type=positive, default=5, metavar="N", help="times to run each; the median is shown")
