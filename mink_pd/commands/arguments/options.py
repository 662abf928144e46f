"""The arguments that several commands share."""

import argparse
from pathlib import Path
from typing import Any

from mink_pd.commands.arguments.values import class_iou, count, intensity, positive
from mink_pd.data.formats import SUFFIXES

EVALUATED = "configuration that names the data; if not given, the checkpoint's"


def add_config(parser: argparse.ArgumentParser, example: str, what: str = "", optional: bool = False) -> None:
    """``config`` and ``overrides``: a configuration, and settings that override it.

    example: overrides that make sense for the command.
    what: what the configuration describes.
    optional: whether the command can do without it.
    """
    text = f"{what or 'configuration'}: a YAML file, or the name of one in configs/, e.g. pointpillars_kitti"
    parser.add_argument("config", nargs="?" if optional else None, help=text)
    add_overrides(parser, f"settings that override the file's, e.g. {example}")


def add_overrides(parser: argparse.ArgumentParser, text: str) -> None:
    """``overrides``: any number of ``key=value``."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=text)


def add_checkpoint(parser: argparse.ArgumentParser, name: str = "checkpoint", what: str = "", **more: Any) -> None:
    """A run folder or checkpoint: an argument or, where ``name`` starts with ``--``, an option.

    what: which detector it holds.
    more: passed on to ``add_argument``.
    """
    text = f"{what}{what and ': '}run folder or .safetensors file"
    parser.add_argument(name, type=Path, metavar="RUN_OR_CHECKPOINT", help=text, **more)


def add_which(parser: argparse.ArgumentParser) -> None:
    """``--which``: the last or the best checkpoint."""
    parser.add_argument("--which", choices=("last", "best"), default="last", help="which checkpoint of a run folder")


def add_again(parser: argparse.ArgumentParser) -> None:
    """``--resume`` and ``--force``: what to do where the run folder exists already."""
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue the run, or start it if there is none")
    again.add_argument("--force", action="store_true", help="replace the run if there is one")


def add_frame(parser: argparse.ArgumentParser, run: str = "the run") -> None:
    """``--data``, ``--split`` and ``--frame``: the frame to look at."""
    add_data(parser, f"{run}'s")
    parser.add_argument("--split", help=f"split that holds the frame; if not given, {run}'s validation split")
    add_frame_id(parser)


def add_data(parser: argparse.ArgumentParser, default: str, when: str = "") -> None:
    """``--data``: the root of a data set other than the one that a run was trained on.

    default: whose data set it is without the option.
    when: what the option is for or goes with.
    """
    parser.add_argument(
        "--data", type=Path, metavar="ROOT", help=f"{when}root of the data set; if not given, {default}"
    )


def add_layout(parser: argparse.ArgumentParser) -> None:
    """``data`` and ``--kind``: the folder of a data set in any layout."""
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder of clouds, or in KITTI's or nuScenes' layout")
    add("--kind", metavar="KIND", help="data.kind of the folder; if not given, its layout tells")


def add_frame_id(parser: argparse.ArgumentParser) -> None:
    """``--frame``: a frame's ID."""
    text = "frame to show; if not given, the one among the first twenty whose number of objects is closest to eight"
    parser.add_argument("--frame", metavar="ID", help=text)


def add_save(parser: argparse.ArgumentParser) -> None:
    """``--save``: a picture instead of a window."""
    parser.add_argument("--save", type=Path, metavar="PNG", help="write a picture instead of opening a window")


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``: figures for programs."""
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the figures as JSON")


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """``--classes`` and ``--min-iou``: what to score, and the overlap that makes a match."""
    text = "classes to score and to average over; if not given, the detector's or the benchmark's"
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help=text)
    text = (
        "IoU that a match must exceed, e.g. Forklift=0.5; if not given, evaluate.min_iou, else 0.7 for Car and 0.5 for"
        " other classes"
    )
    parser.add_argument("--min-iou", nargs="+", type=class_iou, default=[], metavar="CLASS=IOU", help=text)


def add_clouds(parser: argparse.ArgumentParser) -> None:
    """The point clouds, and how to read them (:mod:`mink_pd.commands.input_clouds`)."""
    add = parser.add_argument
    inputs = f"{', '.join(SUFFIXES)} files, nuScenes' .pcd.bin, folders of them, or a folder in KITTI's layout"
    inputs += "; or a recording: .mcap, .bag, .db3 or a ROS 2 folder"
    add("inputs", type=Path, nargs="*", metavar="INPUT", help=inputs)
    add("--topic", help="topic of the recording to read; needed where several hold sensor_msgs/PointCloud2")
    split = "frames of this split of the run's data set (nuScenes: keyframes, with the sweeps before them)"
    add("--split", metavar="NAME", help=split)
    add_data(parser, "the run's", "with --split: ")
    drive = "a drive of KITTI's raw data, e.g. data/raw 2011_09_26 0001"
    add("--raw", nargs=3, metavar=("BASE", "DATE", "DRIVE"), help=drive)
    calib = "KITTI calib file for all clouds, or a folder with NAME.txt for each; not needed in KITTI's layout"
    add("--calib", type=Path, metavar="FILE_OR_DIR", help=calib)
    text = "intensity of a full return in the clouds, e.g. 255, or none; if not given, the run's data.intensity"
    add("--intensity", type=intensity, metavar="NUMBER", help=text)
    text = "columns of .bin files, e.g. x,y,z,intensity,ring; if not given, the run's data.columns"
    add("--columns", type=lambda names: names.split(","), metavar="NAMES", help=text)
    text = "type of these columns, e.g. float64; if not given, the run's data.dtype"
    add("--dtype", type=lambda names: names.split(",") if "," in names else names, help=text)
    text = "axes of the clouds: x_forward (y left) or y_forward (x right); if not given, the run's data.axes"
    add("--axes", choices=("x_forward", "y_forward"), help=text)
    text = "keep points and boxes outside the view of a calib file's camera, too"
    add("--all-around", action="store_true", help=text)


def add_simulation(parser: argparse.ArgumentParser) -> None:
    """The output folder, ``--seed``, ``--workers`` and ``--force``."""
    add = parser.add_argument
    add("out", type=Path, help="folder to write; if it holds a data set made with the same settings, nothing is done")
    add("--seed", type=count, default=0, help="the same seed gives the same bytes")
    add("--workers", type=positive, default=1, help="processes; the data do not depend on their number")
    add("--force", action="store_true", help="replace a data set made with other settings")
