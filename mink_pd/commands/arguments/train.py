"""The arguments of ``mink-pd train``."""

import argparse

from mink_pd.commands.arguments.options import add_again, add_config

DESCRIPTION = "Train a detector into the run folder runs/NAME; NAME is the configuration's, or name=NAME."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_config(parser, "model.compression=4 train.epochs=10 name=student")
    add_again(parser)
