"""The arguments of ``mink-pd report``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.options import add_data, add_frame_id

DESCRIPTION = (
    "Write one self-contained HTML page about finished runs: mean and 95 % interval over seeds, gains paired by seed"
    " with their controls, curves, cost, pictures, and one validation frame in 3D."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUNS", help="run folders, or folders that hold them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for index.html")
    add_data(parser, "the runs' own", "for cost and pictures: ")
    add_frame_id(parser)
