"""The arguments of ``mink-pd eval-nuscenes``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.options import EVALUATED, add_checkpoint, add_config, add_json, add_which

DESCRIPTION = "Score a detector (--checkpoint) or a results file (--results) with nuScenes' official devkit."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    example = "data.root=/data/nuscenes data.version=v1.0-mini"
    add_config(parser, example, EVALUATED, optional=True)
    add_checkpoint(parser, "--checkpoint")
    add_which(parser)
    add("--results", type=Path, metavar="FILE", help="results file in the official format")
    add("--split", help="split to score; if not given, the configuration's data.val_split")
    add("--submission", type=Path, metavar="OUT", help="also write the detector's results in the official format")
    add_json(parser)
