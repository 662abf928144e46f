"""The arguments of ``mink-pd new-config``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.options import add_layout
from mink_pd.commands.arguments.values import positive
from mink_pd.new_config.budget import BUDGETS

DESCRIPTION = (
    "Look at the labelled frames of a data set and write a commented configuration that trains as it is: classes,"
    " range, voxels, anchors, ground-truth sampling and schedule. Warns of what in the data will hurt."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_layout(parser)
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="YAML", help="file to write")
    budgets = "; ".join(f"{name}: {budget.hardware}" for name, budget in BUDGETS.items())
    add("--budget", choices=BUDGETS, default="small", help=f"what training and detection may cost ({budgets})")
    add("--classes", nargs="+", metavar="CLASS", help="classes to train; if not given, those that the data set names")
    add("--train-split", metavar="NAME", help="split to look at and to train on; if not given, train")
    add("--val-split", metavar="NAME", help="split to validate on; if not given, val")
    frames = "number of training frames to look at, evenly spread, and more where a class is rare"
    add("--frames", type=positive, default=500, metavar="N", help=frames)
    add("--force", action="store_true", help="replace the file if it exists")
