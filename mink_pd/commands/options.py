"""The options that several commands share, and the types of their values."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mink_pd.cli import console
from mink_pd.config import Config
from mink_pd.errors import ConfigError
from mink_pd.evaluate.rules import thresholds
from mink_pd.models import Detector
from mink_pd.models.agreement import evaluated_config, positional
from mink_pd.models.checkpoint import checkpoint_file, load_detector

EVALUATED = "configuration of the data; that of the checkpoint if not given"


def add_config(parser: argparse.ArgumentParser, example: str, what: str = "", optional: bool = False) -> None:
    """``config`` and ``overrides``: a configuration and settings over it.

    example: overrides that make sense for the command.
    what: whose configuration it is.
    """
    text = f"{what or 'configuration'}: a YAML file, or the name of one in configs/, e.g. pointpillars_kitti"
    parser.add_argument("config", nargs="?" if optional else None, help=text)
    add_overrides(parser, f"settings over those of the file, e.g. {example}")


def evaluated_detector(options: argparse.Namespace) -> tuple[Detector, Config]:
    """The detector of ``--checkpoint`` and the configuration to evaluate it with, for one process.

    Raises CheckpointError where CONFIG or a setting contradicts the checkpoint.
    """
    file = checkpoint_file(options.checkpoint, options.which)
    given, overrides = positional(options.config, options.overrides)
    config, chosen = evaluated_config(file, given, [*overrides, "train.devices=1", "train.nodes=1"])
    for text in chosen:
        console.print(f"{text} instead of the checkpoint's", soft_wrap=True, markup=False)
    return load_detector(file, config)


def add_overrides(parser: argparse.ArgumentParser, text: str) -> None:
    """``overrides``: any number of ``key=value``."""
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=text)


def add_checkpoint(parser: argparse.ArgumentParser, name: str = "checkpoint", what: str = "", **more: Any) -> None:
    """A run folder or checkpoint: an argument or, where ``name`` starts with ``--``, an option.

    what: which detector it holds. more: passed on to ``add_argument``.
    """
    text = f"{what}{what and ': '}run folder or .safetensors file"
    parser.add_argument(name, type=Path, metavar="RUN_OR_CHECKPOINT", help=text, **more)


def add_which(parser: argparse.ArgumentParser) -> None:
    """``--which``: the last or the best checkpoint."""
    parser.add_argument("--which", choices=("last", "best"), default="last", help="checkpoint of a run folder")


def add_again(parser: argparse.ArgumentParser) -> None:
    """``--resume`` and ``--force``: what to do where a run folder is there already."""
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue the run, or start it if there is none")
    again.add_argument("--force", action="store_true", help="replace the run if there is one")


def add_frame(parser: argparse.ArgumentParser, run: str = "the run") -> None:
    """``--data``, ``--split`` and ``--frame``: the frame to look at."""
    add_data(parser, f"of {run}")
    parser.add_argument("--split", help=f"split that holds the frame; the validation split of {run} if not given")
    add_frame_id(parser)


def add_data(parser: argparse.ArgumentParser, default: str, when: str = "") -> None:
    """``--data``: a data set in place of the one that a run was trained on."""
    parser.add_argument("--data", type=Path, metavar="ROOT", help=f"{when}data set; that {default} if not given")


def add_frame_id(parser: argparse.ArgumentParser) -> None:
    """``--frame``: a frame's ID."""
    text = "frame; if not given, the one of the first twenty whose number of objects is closest to eight"
    parser.add_argument("--frame", metavar="ID", help=text)


def add_save(parser: argparse.ArgumentParser) -> None:
    """``--save``: a picture instead of a window."""
    parser.add_argument("--save", type=Path, metavar="PNG", help="write a picture instead of opening a window")


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``: figures for programs."""
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the figures as JSON")


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """``--classes`` and ``--min-iou``: what to score, and the overlap that makes a match."""
    text = "classes to score, and over which means go; the detector's, or the benchmark's, if not given"
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help=text)
    text = (
        "IoU that a match must exceed, e.g. Forklift=0.5; evaluate.min_iou, or 0.7 for Car and else 0.5, if not given"
    )
    parser.add_argument("--min-iou", nargs="+", type=class_iou, default=[], metavar="CLASS=IOU", help=text)


def class_thresholds(
    options: argparse.Namespace, known: Sequence[str], own: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The classes to score with the IoU that a match must exceed, as the options of :func:`add_scoring` say.

    known: the classes without ``--classes``. own: the detector's classes and their thresholds without ``--min-iou``,
    where the detector is known. Raises ConfigError for a class that the detector lacks, or that is not scored.
    """
    classes = options.classes or list(known)
    lacking = [name for name in classes if own is not None and name not in own]
    if lacking:
        raise ConfigError(f"command line: --classes {lacking[0]}: the detector finds {', '.join(own or ())}")
    stray = [name for name, _ in options.min_iou if name not in classes]
    if stray:
        raise ConfigError(f"command line: --min-iou {stray[0]}: scored are {', '.join(classes)}; add it to --classes")
    return thresholds(classes, dict(own or {}) | dict(options.min_iou))


def class_iou(text: str) -> tuple[str, float]:
    """CLASS=IOU."""
    name, separator, value = text.rpartition("=")
    try:
        iou = float(value)
    except ValueError:
        iou = -1.0
    if not (separator and name and 0 <= iou < 1):
        raise argparse.ArgumentTypeError(f"'{text}' is not CLASS=IOU with an IoU from 0 to less than 1")
    return name, iou


def count(text: str) -> int:
    """A whole number >= 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number >= 0")
    return int(text)


def positive(text: str) -> int:
    """A whole number >= 1."""
    if count(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is less than 1")
    return int(text)


def frequency(text: str) -> float:
    """A number of Hz > 0."""
    if not 0 < float(text) < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number > 0")
    return float(text)


def probability(text: str) -> float:
    """A number from 0 to 1."""
    if not 0 <= float(text) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return float(text)
