"""Train a detector: the teacher, or the student alone."""

import argparse

from mink_pd.commands.options import add_again, add_config
from mink_pd.config import load_config
from mink_pd.train.start import train_detector

DESCRIPTION = "Train a detector into the run folder runs/NAME; NAME is the configuration's, or name=NAME."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_config(parser, "model.compression=4 train.epochs=10 name=student")
    add_again(parser)


def main(options: argparse.Namespace) -> None:
    """Train what the configuration describes into its run folder."""
    train_detector(load_config(options.config, options.overrides), options.resume, options.force)
