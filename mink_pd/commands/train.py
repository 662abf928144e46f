"""Train a detector: the teacher, or the student alone."""

import argparse

from mink_pd.config import load_config
from mink_pd.train.start import train_detector


def main(options: argparse.Namespace) -> None:
    """Train what the configuration describes into its run folder."""
    train_detector(load_config(options.config, options.overrides), options.resume, options.force)
