"""KITTI figures of a trained detector, or of anyone's detections."""

import argparse
from pathlib import Path

from rich.table import Table

from mink_pd.cli import console
from mink_pd.commands.options import add_checkpoint, add_config, add_json, add_which
from mink_pd.config import load_config
from mink_pd.data import open_dataset
from mink_pd.data.loader import make_loader
from mink_pd.data.objects import Objects
from mink_pd.detect.device import launch
from mink_pd.errors import ConfigError
from mink_pd.evaluate.kitti import evaluate_kitti, load_folders, mean_average_precision, operating_points
from mink_pd.evaluate.scorers import KittiScorer, split
from mink_pd.evaluate.tables import kitti_table, write_json
from mink_pd.models.checkpoint import load_detector
from mink_pd.train.validate import validate

DESCRIPTION = "KITTI figures of a detector (CONFIG --checkpoint) or of files (--labels --detections)."

Rows = dict[str, Objects]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    add_config(parser, "data.root=/data/kitti", "configuration that the detector was trained with", optional=True)
    add_checkpoint(parser, "--checkpoint")
    add_which(parser)
    add("--split", help="split to detect in; data.val_split of the configuration if not given")
    add("--labels", type=Path, metavar="DIR", help="KITTI label files, FRAME.txt")
    add("--detections", type=Path, metavar="DIR", help="KITTI detection files, FRAME.txt")
    frames = "frames to evaluate, one ID per line; those with a detection file if not given"
    add("--frames", type=Path, metavar="FILE", help=frames)
    add_json(parser)


def main(options: argparse.Namespace) -> None:
    """Evaluate, print the table, write the JSON."""
    labels, detections = from_folders(options) if options.labels or options.detections else from_checkpoint(options)
    result = evaluate_kitti(labels, detections)
    console.print(kitti_table(result))
    console.print(operating_table(labels, detections))
    means = mean_average_precision(result)
    text = "  ".join(f"{name} {'–' if value is None else f'{value:.2f}'}" for name, value in means.items())
    console.print(f"mAP over the classes, moderate, R40: {text}   ({len(labels)} frames)")
    if options.json:
        write_json(options.json, result)
        console.print(f"written: {options.json}", soft_wrap=True)


def from_folders(options: argparse.Namespace) -> tuple[Rows, Rows]:
    """Labels and detections as KITTI files."""
    if options.config or not (options.labels and options.detections):
        raise ConfigError("command line: give CONFIG and --checkpoint, or --labels and --detections, and not both")
    return load_folders(options.labels, options.detections, options.frames)


def from_checkpoint(options: argparse.Namespace) -> tuple[Rows, Rows]:
    """Labels of a split and what the detector finds in it."""
    if not (options.config and options.checkpoint):
        raise ConfigError("command line: give CONFIG and --checkpoint, or --labels and --detections")
    config = load_config(options.config, [*options.overrides, "train.devices=1", "train.nodes=1"])
    if config.data.kind != "kitti":
        raise ConfigError(f"'data.kind': {config.data.kind} has a benchmark of its own; use mink-pd eval-nuscenes")
    detector, _ = load_detector(options.checkpoint, config, options.which)
    dataset = open_dataset(config.data, options.split or config.data.val_split)
    batches = make_loader(
        dataset,
        config.data,
        batch_size=config.train.batch_size,
        training=False,
        seed=config.seed,
        rank=0,
        world=1,
    )
    fabric = launch(config.train)
    return split(validate(detector.to(fabric.device), batches.epoch(0), KittiScorer(), fabric).kept)


def operating_table(labels: Rows, detections: Rows) -> Table:
    """Each class at the score of its highest F1."""
    table = Table("class", "score", "precision", "recall", "false positives a frame")
    table.title = "at the score of the highest F1 (3D, moderate)"
    for name, point in operating_points(labels, detections).items():
        cells = (point.score, point.precision, point.recall, point.false_positives_per_frame) if point else ()
        table.add_row(name, *(f"{cell:.3f}" for cell in cells))
    return table
