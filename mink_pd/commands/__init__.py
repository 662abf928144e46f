"""The commands of ``mink-pd``: one file each with ``main(options)``, and one of the same name in ``arguments``."""

import argparse
import gc
import sys
from importlib import import_module

from mink_pd import __version__
from mink_pd.cli import parser, run
from mink_pd.memory import without_collection

# The summaries are here because importing each command's arguments would slow `mink-pd --help` down.
COMMANDS = {
    "demo": "simulate, train, distil, evaluate and render: the main job end to end",
    "simulate-kitti": "simulate a data set in KITTI's layout",
    "simulate-nuscenes": "simulate a data set in nuScenes' schema",
    "simulate-drive": "simulate recordings and labelled clouds of any LiDAR",
    "new-config": "write a configuration for a data set from its labelled frames",
    "train": "train a detector",
    "distill": "train a student with a teacher",
    "detect": "detect objects in point clouds",
    "export": "export a detector for ONNX Runtime, OpenVINO, Autoware or CUDA-PointPillars",
    "eval-kitti": "KITTI figures of a detector, or of detections in files",
    "eval-clouds": "figures for any classes of a detector, or of detections in files",
    "eval-nuscenes": "nuScenes figures of a detector, or of a results file",
    "experiment": "run a matrix of trainings and compare them over seeds",
    "report": "make a page about finished runs",
    "summary": "parameters, multiply-adds and time per frame of detectors",
    "import-checkpoint": "convert weights of OpenPCDet or MMDetection3D",
    "find-objects": "list which labelled objects a detector finds",
    "weigh-methods": "compare the gradients of distillation methods",
    "show-importance": "show where a teacher looks in a frame",
    "show-labels": "show labelled frames of a data set, to check its conventions",
    "play": "save a film of a drive with its detections",
    "show-detections": "show the detections of two detectors side by side",
}


def run_command(name: str, words: list[str] | None = None, program: str | None = None) -> None:
    """Parse ``words`` (None: the words of the command line) and run the command ``name``.

    program: what the help text calls it; the script's name if None.
    """
    module = name.replace("-", "_")
    of_command = import_module(f"mink_pd.commands.arguments.{module}")
    arguments = parser(of_command.DESCRIPTION, program)
    of_command.add_arguments(arguments)

    def command(options: argparse.Namespace) -> None:
        with without_collection():  # torch is imported only once the words are known to be right
            imported = import_module(f"mink_pd.commands.{module}")
        # Modules stay. Frozen, they are not walked through by later collections, of which the last, at the process's
        # end, would take half a second. A caller of several commands may have made garbage since the first.
        if gc.get_freeze_count() == 0:
            gc.freeze()
        imported.main(options)

    run(command, arguments, words)


def main() -> None:
    """The console script ``mink-pd``: its first word names the command, the rest belong to the command."""
    arguments = argparse.ArgumentParser(
        prog="mink-pd",
        description="PointDistiller on MinkowskiEngine: small LiDAR 3D detectors trained from large ones.",
        epilog="mink-pd COMMAND --help lists the options of a command.",
    )
    arguments.add_argument("--version", action="version", version=f"mink_pd {__version__}")
    commands = arguments.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    command = arguments.parse_args(sys.argv[1:2]).command
    run_command(command, sys.argv[2:], f"mink-pd {command}")
