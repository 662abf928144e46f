"""nuScenes figures of a trained detector, or of anyone's results file, by the official devkit."""

import argparse
from pathlib import Path
from typing import Any

from mink_pd.cli import console
from mink_pd.commands.options import add_checkpoint, add_config, add_json, add_which
from mink_pd.config import Config, load_config
from mink_pd.data import open_dataset
from mink_pd.data.loader import make_loader
from mink_pd.data.nuscenes import NuScenes, NuScenesConfig
from mink_pd.detect.device import launch
from mink_pd.detect.predict import detect_batches
from mink_pd.errors import ConfigError
from mink_pd.evaluate.nuscenes import evaluate_submission, headline, of_classes, score_rows, write_submission
from mink_pd.evaluate.scorers import NuScenesScorer
from mink_pd.evaluate.tables import nuscenes_table, write_json
from mink_pd.models.checkpoint import load_detector

DESCRIPTION = "nuScenes figures, by the official devkit, of a detector (--checkpoint) or of a results file (--results)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    example = "data.root=/data/nuscenes data.version=v1.0-mini"
    add_config(parser, example, "configuration that names the data set, and that the detector was trained with")
    add_checkpoint(parser, "--checkpoint")
    add_which(parser)
    add("--results", type=Path, metavar="FILE", help="a results file in the official format")
    add("--split", help="split to score; data.val_split of the configuration if not given")
    add("--submission", type=Path, metavar="OUT", help="also write the detector's results in the official format")
    add_json(parser)


def main(options: argparse.Namespace) -> None:
    """Evaluate, print the table, write the JSON."""
    config = load_config(options.config, [*options.overrides, "train.devices=1", "train.nodes=1"])
    if not isinstance(config.data, NuScenesConfig):
        raise ConfigError(f"'data.kind': {config.data.kind} has a benchmark of its own; use mink-pd eval-kitti")
    if bool(options.checkpoint) == bool(options.results):
        raise ConfigError("command line: give --checkpoint or --results, and not both")
    if options.results and options.submission:
        raise ConfigError("command line: --submission goes with --checkpoint; --results is a submission already")
    split = options.split or config.data.val_split
    if options.results:
        summary = evaluate_submission(options.results, config.data.root, config.data.version, split)
    else:
        summary = of_checkpoint(options, config, split)
    console.print(nuscenes_table(summary))
    figures = "  ".join(f"{name} {value:.2f}" for name, value in headline(summary).items())
    console.print(f"{figures}   ({split})", soft_wrap=True)
    if options.json:
        write_json(options.json, without_nan(summary))
        console.print(f"written: {options.json}", soft_wrap=True)


def of_checkpoint(options: argparse.Namespace, config: Config, split: str) -> dict[str, Any]:
    """Detect in a split, write the submission if it is wanted, score it."""
    detector, _ = load_detector(options.checkpoint, config, options.which)
    dataset = open_dataset(config.data.model_copy(update={"max_frames": None}), split)
    assert isinstance(dataset, NuScenes)
    scorer = NuScenesScorer(dataset, config.data.classes)
    size = config.train.batch_size
    loader = make_loader(dataset, config.data, batch_size=size, training=False, seed=config.seed)
    detector.to(launch(config.train).device)
    rows = {frame.id: scorer.keep(frame, found) for frame, found in detect_batches(detector, loader.epoch(0))}
    if options.submission:
        write_submission(options.submission, rows)
        console.print(f"written: {options.submission}", soft_wrap=True)
    if scorer.note:
        console.print(scorer.note, soft_wrap=True)
    return of_classes(score_rows(rows, dataset.root, dataset.version, split), scorer.classes)


def without_nan(value: Any) -> Any:
    """None for the errors that some classes do not have: JSON knows no nan."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value
