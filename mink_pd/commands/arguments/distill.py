"""The arguments of ``mink-pd distill``."""

import argparse

from mink_pd.commands.arguments.options import add_again, add_checkpoint, add_config, add_which

DESCRIPTION = "Distil a teacher into the student that the configuration describes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_config(parser, "model.compression=4 name=distilled", "configuration of the student")
    add_checkpoint(parser, "--teacher", "the teacher, which knows its own configuration", required=True)
    add_which(parser)
    add_again(parser)
