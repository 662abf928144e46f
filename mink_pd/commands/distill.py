"""Distil a teacher into a smaller student."""

import argparse

from mink_pd.commands.options import add_again, add_checkpoint, add_config, add_which
from mink_pd.config import load_config
from mink_pd.models.checkpoint import checkpoint_file
from mink_pd.train.start import distil

DESCRIPTION = "Distil a teacher into the student that the configuration describes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_config(parser, "model.compression=4 name=distilled", "configuration of the student")
    add_checkpoint(parser, "--teacher", "the teacher, which knows its own configuration", required=True)
    add_which(parser)
    add_again(parser)


def main(options: argparse.Namespace) -> None:
    """Train the configured student with the teacher beside it into the student's run folder."""
    config = load_config(options.config, options.overrides)
    distil(config, checkpoint_file(options.teacher, options.which), options.resume, options.force)
