"""Detection in many point clouds by any number of processes, each of which may die and be started again.

A frame is done when its file is there, and files are whole or absent; nothing else is agreed on. Every process works
through its own share first, then through whatever of the others' is still missing, in a random order of its own: two
that take the same frame at once, which happens near the end, write the same file twice.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from mink_pd.config import Config
from mink_pd.detect.clouds import Frames, write_detections
from mink_pd.detect.predict import detect_frames
from mink_pd.errors import ConfigError, DataError
from mink_pd.files import make_folder, write_text
from mink_pd.models import Detector

RECORD = "detect.yaml"  # beside NAME.txt and NAME.json
LOOK_EVERY = 1.0  # seconds


class Bulk:
    """The output folder of all processes that detect in the same frames.

    settings: what the detections depend on; the folder records it.
    """

    def __init__(self, frames: Frames, out: Path, settings: dict[str, object], rank: int = 0, world: int = 1) -> None:
        self.frames, self.out, self.settings = frames, out, settings
        self.rank, self.world = rank, world
        self.dropped = 0  # points that were left out of the clouds that this process has read

    def open(self, force: bool) -> None:
        """Make the folder or go on with it; ``force`` removes what it holds of these frames.

        Raises ConfigError if that was found with other settings, and DataError, before this process writes, for a
        frame of its share that cannot be read.
        """
        if force and self.world > 1:
            raise ConfigError(f"--force is for a single process; remove {self.out}, or choose another --out")
        record = self.out / RECORD
        if not force:
            self._check_same(record)
        for index in range(self.rank, len(self.frames), self.world):
            if force or not self.done(index):
                self.frames[index]
        make_folder(self.out)
        for index in range(len(self.frames)) if force else ():
            for file in self._files(index):
                file.unlink(missing_ok=True)
        write_text(record, yaml.safe_dump(self.settings, sort_keys=False))

    def done(self, index: int) -> bool:
        """Whether a frame's detections have been written."""
        return any(file.exists() for file in self._files(index))

    def detect(self, detector: Detector, config: Config) -> Iterator[int]:
        """Detect until no frame is missing; yields, about once a second, how many are done."""
        missing = (self.frames[index] for index in self._order() if not self.done(index))
        looked = time.monotonic()
        for frame, found in detect_frames(detector, missing, config):
            write_detections(self.out, frame, found)
            self.dropped += frame.dropped
            if time.monotonic() - looked > LOOK_EVERY:
                looked = time.monotonic()
                names = set(os.listdir(self.out))
                yield sum(not names.isdisjoint(file.name for file in self._files(i)) for i in range(len(self.frames)))
        yield len(self.frames)

    def objects(self) -> int:
        """How many objects the files of all frames hold."""
        return sum(_count(next(f for f in self._files(i) if f.exists())) for i in range(len(self.frames)))

    def _order(self) -> list[int]:
        own = range(self.rank, len(self.frames), self.world)
        others = sorted(set(range(len(self.frames))) - set(own))
        random.Random(self.rank).shuffle(others)
        return [*own, *others]

    def _files(self, index: int) -> tuple[Path, Path]:
        name = self.frames.ids[index]
        return self.out / f"{name}.txt", self.out / f"{name}.json"

    def _check_same(self, record: Path) -> None:
        remedy = "--force replaces them (one process), another --out keeps them"
        found = any(self.done(index) for index in range(len(self.frames)))  # first: records are older than detections
        if not record.exists():
            if found:
                raise ConfigError(f"{self.out}: holds detections without {RECORD}, of unknown origin; {remedy}")
            return
        try:
            earlier = yaml.safe_load(record.read_text())
            changed = [key for key in self.settings if earlier.get(key) != self.settings[key]]
        except (OSError, ValueError, AttributeError, yaml.YAMLError):
            raise DataError(f"{record}: cannot be read; {remedy}") from None
        if changed:
            key = changed[0]
            raise ConfigError(
                f"{self.out}: holds detections of {key} {earlier.get(key)}, now {self.settings[key]}; {remedy}"
            )


def _count(file: Path) -> int:
    """Objects in one file of detections."""
    text = file.read_text()
    return len(json.loads(text)["boxes"]) if file.suffix == ".json" else len(text.splitlines())
