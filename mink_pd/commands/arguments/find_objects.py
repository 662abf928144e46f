"""The arguments of ``mink-pd find-objects``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.options import add_checkpoint

DESCRIPTION = "List the labelled objects of a KITTI folder, and which of them a detector finds."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_checkpoint(parser)
    parser.add_argument("root", type=Path, help="folder in KITTI's layout, which contains training/")
    parser.add_argument("--split", default="all", help="name of a split, or all")
    parser.add_argument("--class", dest="name", default="Car", help="class of the objects to list")
