"""Distil a teacher into a smaller student."""

import argparse

from mink_pd.config import load_config
from mink_pd.models.checkpoint import checkpoint_file
from mink_pd.train.start import distil


def main(options: argparse.Namespace) -> None:
    """Train the configured student with the teacher beside it into the student's run folder."""
    config = load_config(options.config, options.overrides)
    distil(config, checkpoint_file(options.teacher, options.which), options.resume, options.force)
