"""Train a detector: the teacher, or the student alone."""

import argparse
from pathlib import Path

from mink_pd.cli import parser, run
from mink_pd.config import load_config
from mink_pd.train.start import train_detector


def main(options: argparse.Namespace) -> None:
    """Train what the configuration describes into its run folder."""
    train_detector(load_config(options.config, options.overrides), options.resume, options.force)


if __name__ == "__main__":
    arguments = parser("Train a detector into the run folder runs/NAME; NAME is the configuration's, or name=NAME.")
    arguments.add_argument("config", type=Path, help="YAML file, as in configs/")
    arguments.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings over the file's, e.g. model.compression=4 train.epochs=10 name=student",
    )
    again = arguments.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue the run, or start it if there is none")
    again.add_argument("--force", action="store_true", help="replace the run if there is one")
    run(main, arguments)
