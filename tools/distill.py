"""Distil a teacher into a smaller student."""

import argparse
from pathlib import Path

from mink_pd.cli import parser, run
from mink_pd.config import load_config
from mink_pd.models.checkpoint import checkpoint_file
from mink_pd.train.start import distil


def main(options: argparse.Namespace) -> None:
    """Train the configured student with the teacher beside it into the student's run folder."""
    config = load_config(options.config, options.overrides)
    distil(config, checkpoint_file(options.teacher, options.which), options.resume, options.force)


if __name__ == "__main__":
    arguments = parser("Distil a teacher into the student that the configuration describes.")
    arguments.add_argument("config", type=Path, help="YAML file of the student, as in configs/")
    arguments.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings over the file's, e.g. model.compression=4 name=distilled",
    )
    arguments.add_argument(
        "--teacher",
        type=Path,
        required=True,
        metavar="RUN_OR_CHECKPOINT",
        help="run folder or .safetensors file of the teacher, which knows its own configuration",
    )
    arguments.add_argument(
        "--which", choices=("last", "best"), default="last", help="checkpoint of a teacher's run folder"
    )
    again = arguments.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue the run, or start it if there is none")
    again.add_argument("--force", action="store_true", help="replace the run if there is one")
    run(main, arguments)
