"""The arguments of ``mink-pd experiment``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.options import add_overrides
from mink_pd.commands.arguments.values import positive

DESCRIPTION = (
    "Run a matrix of trainings and print means and 95 % intervals over seeds. Finished trainings are not repeated."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    add("name", help="name of an experiment in configs/experiments, or the path of such a YAML file")
    add_overrides(parser, "settings for all runs")
    add("--seeds", type=positive, default=3, metavar="N", help="train with seeds 0 to N - 1")
    add("--jobs", type=positive, default=1, help="trainings to run at a time; they share the cores")
    add("--only", nargs="+", metavar="RUN", help="train only these rows of the matrix")
    add("--runs", type=Path, default=Path("runs"), help="folder for the experiment's run folders")
    columns = "columns of the table; if not given, the benchmark's main figures"
    add("--metrics", nargs="+", metavar="FIGURE", help=columns)
    add(
        "--force",
        action="store_true",
        help="repeat runs that were made with other settings, another teacher or other data",
    )
    add("--report", action="store_true", help="train nothing; print the table of the finished runs")
