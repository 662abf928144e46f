"""The arguments of ``mink-pd demo``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.options import add_overrides
from mink_pd.commands.arguments.values import count

DESCRIPTION = "Simulate frames, train, distil, evaluate and render. A second call reuses what has not changed."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_overrides(parser, "settings that override those of all trainings, e.g. train.epochs=2")
    parser.add_argument("--train", type=count, default=240, help="simulated training frames")
    parser.add_argument("--val", type=count, default=80, help="simulated validation frames")
    parser.add_argument("--runs", type=Path, default=Path("runs/demo"), help="where the run folders go")
