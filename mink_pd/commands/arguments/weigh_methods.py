"""The arguments of ``mink-pd weigh-methods``."""

import argparse

from mink_pd.commands.arguments.choices import METHODS
from mink_pd.commands.arguments.options import add_checkpoint, add_config, add_which
from mink_pd.commands.arguments.values import positive

DESCRIPTION = (
    "Compare the gradients of distillation methods on an untrained student: the gradient's norm divided by that of the"
    " detection loss, and the weight (distill.METHOD.weight) that would bring this share to --share."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    add_config(parser, "model.compression=4", "configuration of the student")
    add_checkpoint(parser, "--teacher", "the teacher", required=True)
    add_which(parser)
    methods = f"{', '.join(METHODS)}, or one that a plugin registers; all if not given"
    add("--methods", nargs="+", metavar="METHOD", help=methods)
    add("--share", type=float, default=0.3, help="gradient share to aim at")
    add("--batches", type=positive, default=4, metavar="N", help="batches to average over")
