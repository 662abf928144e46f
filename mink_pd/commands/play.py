"""Save a film of a drive with its detections, seen from above and from behind."""

import argparse
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from mink_pd.cli import console, progress
from mink_pd.commands.input_clouds import open_frames, recorded_as
from mink_pd.data import view_of
from mink_pd.data.frame import Frame
from mink_pd.detect.device import own_device
from mink_pd.detect.predict import FrameDetections, detect_frames
from mink_pd.detect.sequences import Drive
from mink_pd.files import check_writable
from mink_pd.models.checkpoint import load_detector
from mink_pd.render.colours import class_colours
from mink_pd.render.film import Shot, Stage, check_kind, film_frames, write_film
from mink_pd.render.shapes import ground_height


def main(options: argparse.Namespace) -> None:
    """Detect in every frame, draw it, write the film."""
    check_kind(options.save)
    check_writable(options.save)
    detector, config = load_detector(options.checkpoint, which=options.which)
    drive = Drive.of(open_frames(options, recorded_as(options, config.data)))
    count = min(len(drive), options.first or len(drive))
    detector.to(own_device(config.train))
    found = detect_frames(detector, itertools.islice(drive, count), config)
    first = next(found)
    colours = class_colours(config.data.classes)
    ground = ground_height(first[0].points)
    stage = Stage(_title(options), colours, config.data.range, ground, view_of(config.data).front)
    shots = _shots(drive, itertools.chain([first], found), options.score)
    with progress("drawing", count) as advance:
        rate = options.rate or drive.rate()
        write_film(options.save, film_frames(stage, shots, advance), rate, list(colours.values()))
    console.print(f"{options.save}: {count} frames", soft_wrap=True)


def _shots(drive: Drive, found: Iterable[tuple[Frame, FrameDetections]], score: float) -> Iterator[Shot]:
    """A film's frames: what was found with a score no lower than ``score``."""
    for index, (frame, detections) in enumerate(found):
        kept = detections.scores >= score
        seconds = (drive.time(index) - drive.time(0)) / 1e9
        text = f"{seconds:.1f} s   {np.count_nonzero(kept)} objects"
        yield Shot(frame.points, detections.boxes[kept], detections.names[kept], text)


def _title(options: argparse.Namespace) -> str:
    source = options.raw[2] if options.raw else options.split or options.inputs[0].name
    return f"{options.checkpoint.stem} on {source}"
