"""The arguments of ``mink-pd distill``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.options import add_again, add_checkpoint, add_config, add_which

DESCRIPTION = "Distil a teacher into the student that the configuration describes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_config(parser, "model.compression=4 name=distilled", "configuration of the student")
    add_checkpoint(parser, "--teacher", "the teacher, which knows its own configuration", required=True)
    add_which(parser)
    add_unlabelled(parser)
    add_again(parser)


def add_unlabelled(parser: argparse.ArgumentParser) -> None:
    """``--unlabelled`` and ``--boxes``: frames without labels, and what to take for labels in them."""
    text = "frames without labels, for which the teacher's boxes stand: folders of clouds, a raw drive, a recording,"
    text += " or ROOT:SPLIT (docs/unlabelled.md)"
    parser.add_argument("--unlabelled", nargs="+", metavar="PATH", default=[], help=text)
    text = "with --unlabelled: detection files of any detector (ID.txt or ID.json) instead of the teacher's boxes"
    parser.add_argument("--boxes", type=Path, metavar="DIR", help=text)
