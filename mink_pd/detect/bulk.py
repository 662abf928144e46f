"""Detection in many point clouds by any number of processes, each of which may die and be restarted.

A frame is finished when its file exists; files are complete or do not exist, and processes share no other state. Every
process works through its own share first, and then through the missing frames of the others in a random order. Near the
end, two processes may take the same frame and write the same file twice.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from mink_pd.config import Config
from mink_pd.data.frame import Frame, Frames
from mink_pd.detect.clouds import write_detections
from mink_pd.detect.predict import detect_frames
from mink_pd.detect.record import INPUTS, InputRecord, describe, digest
from mink_pd.errors import ConfigError, DataError
from mink_pd.files import check_writable_folder, read_text, reading, write_text
from mink_pd.models import Detector

RECORD = "detect.yaml"  # next to NAME.txt and NAME.json
LOOK_EVERY = 1.0  # seconds
REMEDY = "--force replaces them (one process), another --out keeps them"


class Bulk:
    """The output folder of all processes that detect in the same frames.

    settings: everything except the frames that the detections depend on; the folder records it.
    """

    def __init__(self, frames: Frames, out: Path, settings: dict[str, object], rank: int = 0, world: int = 1) -> None:
        self.frames, self.out, self.settings = frames, out, settings
        self.rank, self.world = rank, world
        self.dropped = 0  # points that were left out of the clouds that this process has read
        self.cut = False  # whether a cloud was cut to the camera's view
        self.unseen = 0  # boxes outside that view, which were not written
        self.unread: dict[int, str] = {}  # frames that cannot be read, and why

    def open(self, force: bool) -> None:
        """Make the folder or continue in it; ``force`` removes its detections of these frames.

        Raises ConfigError, before anything is written, if the folder has detections of these frames that were made with
        other settings, in other clouds with the same names, or without a record. Raises DataError if the folder cannot
        be written.
        """
        if force and self.world > 1:
            raise ConfigError(f"--force is for a single process; remove {self.out}, or choose another --out")
        record = self.out / RECORD
        done = [index for index in range(len(self.frames)) if self.done(index)]  # first: records are older
        self.inputs = InputRecord(self.out)
        self._check_known(record, done)
        if not force:
            self._check_same(record)
            self._check_inputs(done)
        check_writable_folder(self.out)
        for index in done if force else ():
            for file in self._files(index):
                file.unlink(missing_ok=True)
        write_text(record, yaml.safe_dump(self.settings, sort_keys=False))

    def done(self, index: int) -> bool:
        """Whether a frame's detections have been written."""
        return any(file.exists() for file in self._files(index))

    def detect(self, detector: Detector, config: Config) -> Iterator[int]:
        """Detect until no frame is missing; yields, about once a second, how many are done.

        Raises DataError at the end if frames could not be read; all others are done then.
        """
        looked = time.monotonic()
        for frame, found in detect_frames(detector, self._missing(), config):
            self.unseen += write_detections(self.out, frame, found, unseen=not config.data.camera_view)
            self.cut |= config.data.camera_view and frame.calibration is not None
            self.dropped += frame.dropped
            if time.monotonic() - looked > LOOK_EVERY:
                looked = time.monotonic()
                names = set(os.listdir(self.out))
                yield sum(not names.isdisjoint(file.name for file in self._files(i)) for i in range(len(self.frames)))
        if self.unread:
            others = f"; {len(self.unread)} of {len(self.frames)} clouds cannot be read, the others are done"
            raise DataError(f"{next(iter(self.unread.values()))}{others}")
        yield len(self.frames)

    def _missing(self) -> Iterator[Frame]:
        """The frames that are not done yet, each recorded before it is detected in."""
        for index in self._order():
            if self.done(index):
                continue
            try:
                frame = self.frames[index]
            except DataError as error:
                self.unread[index] = str(error)
                continue
            self.inputs.add(frame, self.frames.paths(index))
            yield frame

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

    def _check_known(self, record: Path, done: list[int]) -> None:
        """Raise ConfigError for files by these names that no earlier call has written: perhaps somebody's labels."""
        for index in done:
            if not record.exists() or self.frames.ids[index] not in self.inputs.known:
                file = next(file for file in self._files(index) if file.exists())
                raise ConfigError(
                    f"{file}: exists and is of unknown origin ({RECORD} and {INPUTS} next to it do not list it);"
                    " remove it, or choose another --out"
                )

    def _check_same(self, record: Path) -> None:
        if not record.exists():
            return
        with reading(record, DataError, REMEDY):
            earlier = dict(yaml.safe_load(read_text(record, DataError, REMEDY, 100_000)))
        for key, value in self.settings.items():
            if earlier.get(key) != value:
                raise ConfigError(f"{self.out}: holds detections of {key} {earlier.get(key)}, now {value}; {REMEDY}")

    def _check_inputs(self, done: list[int]) -> None:
        """Raise ConfigError if a frame that is done was found in another cloud. Files as they were are not read."""
        for index in done:
            known = self.inputs.known[self.frames.ids[index]]
            paths = self.frames.paths(index)
            if (paths and describe(paths) == known.files) or digest(self.frames[index]) == known.sha256:
                continue
            before, now = (f" {files[0].split(' ')[0]}" if files else "" for files in (known.files, describe(paths)))
            what = f"another cloud of this name{before}" if before != now else f"the cloud{now} before it was changed"
            raise ConfigError(f"{self.out}: holds detections of {self.frames.ids[index]} in {what}; {REMEDY}")


def _count(file: Path) -> int:
    """Objects in one file of detections."""
    text = file.read_text()
    return len(json.loads(text)["boxes"]) if file.suffix == ".json" else len(text.splitlines())
