"""The arguments of ``mink-pd eval-kitti``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.options import EVALUATED, add_checkpoint, add_config, add_json, add_scoring, add_which

DESCRIPTION = "KITTI figures of a detector (--checkpoint) or of files (--labels --detections)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    add_config(parser, "data.root=/data/kitti", EVALUATED, optional=True)
    add_checkpoint(parser, "--checkpoint")
    add_which(parser)
    add("--split", help="split to detect in; if not given, the configuration's data.val_split")
    add("--labels", type=Path, metavar="DIR", help="KITTI label files, FRAME.txt")
    add("--detections", type=Path, metavar="DIR", help="KITTI detection files, FRAME.txt")
    frames = "list of the frames to evaluate, one ID per line; if not given, those with a detection file"
    add("--frames", type=Path, metavar="FILE", help=frames)
    add_scoring(parser)
    rules = "apply KITTI's limits on image boxes; if not given, only where the labels have true image boxes"
    add("--image-rules", choices=("on", "off"), help=rules)
    add_json(parser)
