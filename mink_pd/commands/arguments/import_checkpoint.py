"""The arguments of ``mink-pd import-checkpoint``."""

import argparse
from pathlib import Path

from mink_pd.commands.arguments.choices import FORMATS
from mink_pd.commands.arguments.options import add_overrides
from mink_pd.commands.arguments.values import above_zero

DESCRIPTION = (
    "Convert weights of OpenPCDet or MMDetection3D (PointPillars, SECOND, CenterPoint, PointRCNN; also those that"
    " PointDistiller's authors published), or of CenterPoint's authors (det3d), into a checkpoint for detect,"
    " eval-kitti and distill --teacher. No code in the file is executed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="checkpoint that the framework wrote (.pth)")
    add_overrides(parser, "settings that override the configuration's, e.g. model.compression=4")
    add("--format", choices=FORMATS, required=True, help="framework that wrote it")
    geometry = "configuration of the same detector: a YAML file, or a name such as published/openpcdet_second"
    add("--config", required=True, metavar="CONFIG", help=geometry)
    add("--out", type=Path, required=True, metavar="OUT", help="checkpoint to write (.safetensors)")
    add("--intensity", type=above_zero, metavar="SCALE", help=(
        "largest intensity in the points that the weights were trained on, such as 1, 255 or 65535; if not given, 255"
        " for nuScenes and 1 otherwise"))  # fmt: skip
    case = (
        "folder with points.bin and the framework's own results, expected.npz: compare stage by stage, and write"
        " nothing if any stage differs (PointPillars and SECOND)"
    )
    add("--verify", type=Path, metavar="CASE", help=case)
