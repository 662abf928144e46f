"""The arguments of ``mink-pd simulate-kitti``."""

import argparse

from mink_pd.commands.arguments.choices import WORLDS
from mink_pd.commands.arguments.options import add_simulation
from mink_pd.commands.arguments.values import count

DESCRIPTION = "Simulate a LiDAR data set in KITTI's object layout: labelled street scenes of an HDL-64E."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_simulation(parser)
    add = parser.add_argument
    add("--train", type=count, default=240, help="frames in the train split")
    add("--val", type=count, default=80, help="frames in the val split")
    scans = "also write a raw drive, as pykitti reads it, of SCANS full turns (20 if left out; default: %(default)s)"
    add("--drive", type=count, nargs="?", const=20, default=0, metavar="SCANS", help=scans)
    worlds = "varied: many people, crossing traffic, rough ground; street: KITTI's streets as its LiDAR sees them"
    add("--world", choices=WORLDS, default=WORLDS[0], help=worlds)
