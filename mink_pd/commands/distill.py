"""Distil a teacher into a smaller student."""

import argparse
import json
from pathlib import Path

from mink_pd.config import assignment, load_config
from mink_pd.models.checkpoint import checkpoint_file
from mink_pd.train.start import distil


def main(options: argparse.Namespace) -> None:
    """Train the configured student with the teacher, and write the student's run folder."""
    config = load_config(options.config, [*options.overrides, *unlabelled_settings(options)])
    distil(config, checkpoint_file(options.teacher, options.which), options.resume, options.force)


def unlabelled_settings(options: argparse.Namespace) -> list[str]:
    """The options as settings. Settings that follow ``--unlabelled`` are none of its paths."""
    words = [(word, "=" in word and not Path(word).exists()) for word in options.unlabelled]
    paths = [word for word, is_setting in words if not is_setting]
    given = [word for word, is_setting in words if is_setting]
    if options.unlabelled:
        given.append(f"distill.unlabelled.paths={json.dumps(paths, ensure_ascii=False)}")
    if options.boxes is not None:
        given.append(assignment("distill.unlabelled.boxes", options.boxes))
    return given
