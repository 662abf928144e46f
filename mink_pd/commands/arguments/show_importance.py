"""The arguments of ``mink-pd show-importance``."""

import argparse

from mink_pd.commands.arguments.choices import IMPORTANCES
from mink_pd.commands.arguments.options import add_checkpoint, add_frame, add_save, add_which
from mink_pd.commands.arguments.values import positive

DESCRIPTION = (
    "Show the teacher's importance over the points of one frame, the rows that distillation selects, the"
    " labelled boxes, and the share of selected rows inside them. Opens a window, or saves a picture"
    " with --save."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add_checkpoint(parser, what="the teacher")
    add_which(parser)
    add_frame(parser)
    parser.add_argument("--tap", default="neck", help="tap of the teacher, i.e. the features to distil")
    importances = f"what makes a row important: {', '.join(IMPORTANCES)}, or one that a plugin registers"
    parser.add_argument("--importance", default="score", metavar="NAME", help=importances)
    parser.add_argument("--rows", type=positive, default=64, metavar="N", help="number of rows to select")
    add_save(parser)
