"""The arguments of ``mink-pd eval-clouds``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.options import EVALUATED, add_checkpoint, add_config, add_json, add_scoring, add_which

DESCRIPTION = (
    "Score detections of any classes: average precision by overlap and by centre distance, also per range and per"
    " number of points in the object, the operating point and the heading error. Scores a detector (--checkpoint), or"
    " files as mink-pd detect writes them (CONFIG --detections)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    add_config(parser, "data.root=/data/yard", EVALUATED, optional=True)
    add_checkpoint(parser, "--checkpoint")
    add_which(parser)
    add("--detections", type=Path, metavar="DIR", help="folder with ID.json for each frame; CONFIG names the data set")
    add("--split", help="split to score; if not given, the configuration's data.val_split")
    add_scoring(parser)
    add_json(parser)
