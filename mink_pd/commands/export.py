"""Export a trained detector for the runtimes of vehicles."""

import argparse
from pathlib import Path

from mink_pd.cli import console
from mink_pd.detect.device import set_threads
from mink_pd.errors import ConfigError
from mink_pd.export.card import CARD, is_export
from mink_pd.export.frames import CALIBRATED, SIMULATED, proof_frames
from mink_pd.export.networks import Settings
from mink_pd.export.write import TABLE, Source, export
from mink_pd.models.checkpoint import checkpoint_file, load_detector


def main(options: argparse.Namespace) -> None:
    """Check, write to a folder of another name, compare, and give the folder its name."""
    check_out(options.out, options.force)
    weights = checkpoint_file(options.checkpoint, options.which)
    detector, config = load_detector(weights)
    set_threads(config.train)
    settings = Settings(options.to, options.opset, options.pillars, options.slots, options.int8)
    frames = proof_frames(options.frames, config.data, CALIBRATED if options.int8 else SIMULATED)
    report = export(detector, Source(weights, config.name or weights.stem), settings, frames, options.out, console)
    equal = f"equal to the detector on {report.frames} clouds"
    if options.int8:
        equal = f"in float {equal}, then quantised: score the folder with detect and eval-kitti"
    console.print(f"{options.out}: {CARD}, {TABLE} and the networks, {equal}", soft_wrap=True)


def check_out(out: Path, force: bool) -> None:
    """Raise ConfigError for a place that holds something else, or an export that ``force`` does not replace."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not is_export(out):
        raise ConfigError(f"{out}: exists and is not an export; choose another --out")
    if not force:
        raise ConfigError(f"{out}: holds an export already; --force replaces it")
