"""The arguments of ``mink-pd simulate-nuscenes``."""

import argparse

from mink_pd.commands.arguments.choices import SCHEMAS
from mink_pd.commands.arguments.options import add_simulation
from mink_pd.commands.arguments.values import count

DESCRIPTION = "Simulate a data set in the schema of nuScenes: a car drives through towns, 32 beams, 20 Hz."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_simulation(parser)
    add = parser.add_argument
    add("--train", type=count, default=20, help="scenes in the train split")
    add("--val", type=count, default=12, help="scenes in the val split")
    add("--keyframes", type=count, default=5, help="keyframes per scene, half a second apart")
    add(
        "--schema",
        choices=SCHEMAS,
        default=SCHEMAS[0],
        help="version folder, which also determines the names of the splits",
    )
