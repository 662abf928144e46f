"""What the commands share that evaluate a detector."""

import argparse
from collections.abc import Mapping, Sequence

from mink_pd.cli import console
from mink_pd.config import Config
from mink_pd.data import Dataset, open_dataset
from mink_pd.data.splits import check_labelled
from mink_pd.errors import ConfigError
from mink_pd.evaluate.rules import thresholds
from mink_pd.models import Detector
from mink_pd.models.agreement import evaluated_config, positional
from mink_pd.models.checkpoint import checkpoint_file, load_detector


def evaluated_detector(options: argparse.Namespace) -> tuple[Detector, Config]:
    """The detector of ``--checkpoint``, and the configuration with which to evaluate it in one process.

    Raises CheckpointError if CONFIG or a setting contradicts the checkpoint.
    """
    file = checkpoint_file(options.checkpoint, options.which)
    given, overrides = positional(options.config, options.overrides)
    config, chosen = evaluated_config(file, given, [*overrides, "train.devices=1", "train.nodes=1"])
    for text in chosen:
        console.print(f"{text} instead of the checkpoint's", soft_wrap=True)
    return load_detector(file, config)


def evaluated_frames(options: argparse.Namespace, config: Config) -> Dataset:
    """The frames of ``--split``, else of ``data.val_split``. Raises DataError if some have no labels."""
    dataset = open_dataset(config.data, options.split or config.data.val_split)
    return check_labelled(dataset, "--split" if options.split else "data.val_split")


def class_thresholds(
    options: argparse.Namespace, known: Sequence[str], own: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The classes to score and the IoU that a match must exceed, from ``--classes`` and ``--min-iou``.

    known: the classes to score without ``--classes``.
    own: the detector's classes and their thresholds without ``--min-iou``; None: there is no detector.
    Raises ConfigError for a class that the detector lacks, or a threshold of a class that is not scored.
    """
    classes = options.classes or list(known)
    lacking = [name for name in classes if own is not None and name not in own]
    if lacking:
        raise ConfigError(f"command line: --classes {lacking[0]}: the detector finds {', '.join(own or ())}")
    stray = [name for name, _ in options.min_iou if name not in classes]
    if stray:
        raise ConfigError(f"command line: --min-iou {stray[0]}: scored are {', '.join(classes)}; add it to --classes")
    return thresholds(classes, dict(own or {}) | dict(options.min_iou))
