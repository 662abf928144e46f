"""Export a trained detector for the runtimes of vehicles."""

import argparse
from pathlib import Path

from mink_pd.cli import console, warn
from mink_pd.config import Config
from mink_pd.detect.device import set_threads
from mink_pd.detect.predict import detect_batches
from mink_pd.errors import ConfigError
from mink_pd.evaluate.scorers import headline, make_scorer
from mink_pd.export.card import CARD, is_export
from mink_pd.export.engine import export_engine
from mink_pd.export.frames import CALIBRATED, SIMULATED, proof_frames
from mink_pd.export.networks import Settings
from mink_pd.export.quantise import TOLERABLE, Accuracy, Figures
from mink_pd.export.write import TABLE, Score, Source, export
from mink_pd.files import replaceable_folder
from mink_pd.models import Detector
from mink_pd.models.checkpoint import checkpoint_file, load_detector
from mink_pd.registry import DATASETS
from mink_pd.train.validate import lay_out


def main(options: argparse.Namespace) -> None:
    """Check, write under another name, compare, and give the folder or file its name."""
    if options.to == "engine":
        return main_engine(options)
    check_out(options.out, options.force)
    check_split(options)
    weights = checkpoint_file(options.checkpoint, options.which)
    detector, config = load_detector(weights)
    set_threads(config.train)
    config.data = config.data.model_copy(update={"root": options.data or config.data.root})
    settings = Settings(options.to, options.opset, options.pillars, options.slots, options.int8)
    score = scoring(config, options.split, options.split_frames) if options.split else None
    frames = proof_frames(options.frames, config.data, CALIBRATED if options.int8 else SIMULATED)
    source = Source(weights, config.name or weights.stem)
    report = export(detector, source, settings, frames, options.out, console, score)
    equal = f"equal to the detector on {report.frames} clouds"
    if report.quantised is not None:
        equal = f"in float {equal}, then quantised"
        if report.quantised.accuracy is None:
            equal += ": --split measures its AP, or score the folder with detect and eval-kitti"
        else:
            warn_of_losses(report.quantised.accuracy)
    console.print(f"{options.out}: {CARD}, {TABLE} and the networks, {equal}", soft_wrap=True)


def check_split(options: argparse.Namespace) -> None:
    """Raise ConfigError for options that go with others."""
    if options.split and not options.int8:
        raise ConfigError("command line: --split measures the AP that int8 costs; add --int8, or leave it out")
    for name in ("data", "split_frames"):
        if getattr(options, name) and not options.split:
            raise ConfigError(f"command line: --{name.replace('_', '-')} goes with --split; add it, or leave this out")


def scoring(config: Config, split: str, most: int | None) -> Score:
    """What measures a detector's main figures on the first ``most`` frames of a split (None: all).

    Raises DataError, ConfigError or what else stands against scoring there, before anything is run.
    """
    dataset = DATASETS[config.data.kind].open(config.data, split, most)
    scorer, titles = make_scorer(dataset, config), headline(config)
    scorer.check()
    batches = lay_out(dataset, config.data)

    def score(name: str, detector: Detector) -> Figures:
        kept = {frame.id: scorer.keep(frame, found) for frame, found in detect_batches(detector, batches.epoch(0))}
        figures = scorer.score(kept)
        found = {title: figures[key] for key, title in titles.items() if key in figures}
        console.print(f"{name}: {'  '.join(f'{key} {value:.2f}' for key, value in found.items())}", soft_wrap=True)
        return found

    return score


def warn_of_losses(accuracy: Accuracy) -> None:
    """Say where int8 costs more than it should, and what may help."""
    for name, loss in accuracy.losses().items():
        if loss > TOLERABLE:
            text = f"{name}: int8 loses {loss:.2f}, more than {TOLERABLE}; calibrate on more clouds of the sensor"
            console.print(f"{text} (--frames), or leave out --int8", soft_wrap=True)


def main_engine(options: argparse.Namespace) -> None:
    """Write one file for the engine."""
    for name in ("opset", "pillars", "slots"):
        if getattr(options, name):
            raise ConfigError(f"--{name}: is for graphs of dense networks; leave it out with --to engine")
    check_split(options)
    detector, config = load_detector(checkpoint_file(options.checkpoint, options.which))
    set_threads(config.train)
    config.data = config.data.model_copy(update={"root": options.data or config.data.root})
    score = scoring(config, options.split, options.split_frames) if options.split else None
    frames = proof_frames(options.frames, config.data, CALIBRATED if options.int8 else SIMULATED)
    report = export_engine(detector, frames, options.out, options.force, options.int8, score)
    same = f"{report.agreement.pairs} boxes equal to the detector's on {report.frames} clouds"
    if report.quantised is not None:
        console.print(report.quantised.table())
        same += ", then quantised"
        if report.quantised.accuracy is not None:
            warn_of_losses(report.quantised.accuracy)
    console.print(f"{options.out}: {report.size / 1e6:.1f} MB, {same}", soft_wrap=True)
    if not report.agreement.pairs:
        warn(["neither finds an object in these clouds, so no box was compared; give --frames with objects"])


def check_out(out: Path, force: bool) -> None:
    """Raise ConfigError for a path that holds something else, an export that ``force`` does not replace, or a folder
    that cannot be replaced."""
    replaceable_folder(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not is_export(out):
        raise ConfigError(f"{out}: exists and is not an export; choose another --out")
    if not force:
        raise ConfigError(f"{out}: holds an export already; --force replaces it")
