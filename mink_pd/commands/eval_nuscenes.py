"""Score a trained detector, or a results file, with nuScenes' official devkit."""

import argparse
from typing import Any

from mink_pd.cli import console
from mink_pd.commands.evaluation import evaluated_detector
from mink_pd.config import Config, load_config
from mink_pd.data import open_dataset
from mink_pd.data.datasets.nuscenes_dataset import NuScenes, NuScenesConfig
from mink_pd.detect.device import launch
from mink_pd.errors import ConfigError
from mink_pd.evaluate.nuscenes import evaluate_submission, headline, of_classes, score_rows, write_submission
from mink_pd.evaluate.scorers.nuscenes import NuScenesScorer
from mink_pd.evaluate.tables import nuscenes_table, write_json
from mink_pd.files import check_writable
from mink_pd.models.agreement import positional
from mink_pd.train.validate import find, lay_out


def main(options: argparse.Namespace) -> None:
    """Evaluate, write the JSON, print the table."""
    if bool(options.checkpoint) == bool(options.results):
        raise ConfigError("command line: give --checkpoint or --results, and not both")
    if options.results and options.submission:
        raise ConfigError("command line: --submission goes with --checkpoint; --results is a submission already")
    check_writable(options.json)
    check_writable(options.submission)
    summary, split, note = of_checkpoint(options) if options.checkpoint else of_results(options)
    if options.json:
        write_json(options.json, without_nan(summary))
    if note:
        console.print(note, soft_wrap=True)
    console.print(nuscenes_table(summary))
    figures = "  ".join(f"{name} {value:.2f}" for name, value in headline(summary).items())
    console.print(f"{figures}   ({split})", soft_wrap=True)
    for path in filter(None, (options.submission, options.json)):
        console.print(f"written: {path}", soft_wrap=True)


def of_results(options: argparse.Namespace) -> tuple[dict[str, Any], str, str | None]:
    """The devkit's summary of a results file, the split, and no note."""
    given, overrides = positional(options.config, options.overrides)
    if given is None:
        raise ConfigError("command line: --results needs CONFIG, which names the data set")
    data = check_kind(load_config(given, overrides))
    split = options.split or data.val_split
    return evaluate_submission(options.results, data.root, data.version, split), split, None


def of_checkpoint(options: argparse.Namespace) -> tuple[dict[str, Any], str, str | None]:
    """Detect in a split, write the submission on request, and score it. Returns the devkit's summary, the split and the
    scorer's note."""
    detector, config = evaluated_detector(options)
    split = options.split or config.data.val_split
    dataset = open_dataset(check_kind(config).model_copy(update={"max_frames": None}), split)
    assert isinstance(dataset, NuScenes)
    scorer = NuScenesScorer(dataset, config.data.classes)
    scorer.check()
    fabric = launch(config.train)
    rows = find(detector.to(fabric.device), lay_out(dataset, config.data).epoch(0), scorer, fabric)
    if options.submission:
        write_submission(options.submission, rows)
    summary = score_rows(rows, dataset.root, dataset.version, split)
    return of_classes(summary, scorer.classes), split, scorer.note


def check_kind(config: Config) -> NuScenesConfig:
    """The settings of nuScenes. Raises ConfigError for another benchmark's data."""
    if not isinstance(config.data, NuScenesConfig):
        raise ConfigError(
            f"'data.kind': {config.data.kind} has other rules than nuScenes; use mink-pd eval-kitti or eval-clouds"
        )
    return config.data


def without_nan(value: Any) -> Any:
    """The value with None for nan, which JSON lacks; some classes lack some errors."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and value != value else value
