"""Detection in the frames of a drive, one after the other, into one file."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mink_pd.config import Config
from mink_pd.data.frame import Frame, Frames
from mink_pd.data.recordings.drive_writer import DriveWriter
from mink_pd.data.recordings.foxglove import Boxes, Colour
from mink_pd.detect.clouds import as_rows
from mink_pd.detect.file_frame import in_file_frame
from mink_pd.detect.predict import FrameDetections, detect_frames
from mink_pd.files import whole_file
from mink_pd.models import Detector

CLOUDS, BOXES = "/points", "/detections"  # topics
_FRAME = "lidar"  # of reference, where the source names none
_RATE = 10.0  # frames a second of a drive that does not say
_SECOND = 1_000_000_000  # [ns]


@dataclass
class Drive:
    """Frames in the order of time. stamps: of each [ns], None where the source knows none.

    logged: when a recording logged each of them [ns], and the clouds' frame of reference there; None: no recording.
    """

    frames: Frames
    stamps: list[int] | None = None
    logged: list[int] | None = None
    frame_id: str = _FRAME

    @classmethod
    def of(cls, frames: Frames) -> "Drive":
        """With the time stamps that the source has."""
        logged = getattr(frames, "logged", None)
        return cls(frames, getattr(frames, "stamps", None), logged, getattr(frames, "frame_id", None) or _FRAME)

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        if isinstance(self.frames, Iterable):
            yield from self.frames
        else:
            yield from (self.frames[index] for index in range(len(self.frames)))

    def time(self, index: int, rate: float = _RATE) -> int:
        """The time stamp of a frame [ns]; frames without one are 1 / ``rate`` seconds apart."""
        return self.stamps[index] if self.stamps is not None else round(index * _SECOND / rate)

    def rate(self) -> float:
        """Frames a second by the median of the time between them; 10 where that is not known."""
        steps = np.diff(self.stamps) if self.stamps is not None else np.zeros(0)
        return float(_SECOND / np.median(steps)) if len(steps) and np.median(steps) > 0 else _RATE


@dataclass
class Outputs:
    """The files to write: JSON lines, and on request an MCAP file; the latter's colours by class, and the frames a
    second of a drive without time stamps."""

    lines: Path
    mcap: Path | None = None
    colours: dict[str, Colour] = field(default_factory=dict)
    rate: float = _RATE


def check_readable(drive: Drive, advance: Callable[[], object]) -> None:
    """Read every frame once. Raises DataError for one that cannot be read, before work is lost."""
    for _ in drive:
        advance()


def detect_drive(
    detector: Detector, config: Config, drive: Drive, outputs: Outputs, advance: Callable[[], object]
) -> tuple[int, int]:
    """Detect in every frame and write the files, each whole or not at all; returns the number of objects, and that of
    points which were left out of the clouds.

    A line holds the frame's id, its time stamp [ns] or null, and the detections as in NAME.json. The MCAP file holds
    the boxes, at the times at which a recording has its clouds and in their frame; of other drives the clouds as well,
    both in the LiDAR frame.
    """
    objects = dropped = 0
    with ExitStack() as stack:
        lines = stack.enter_context(whole_file(outputs.lines))
        writer = None
        if outputs.mcap is not None:
            writer = DriveWriter(stack.enter_context(whole_file(outputs.mcap, "wb")))
        for index, (frame, found) in enumerate(detect_frames(detector, drive, config)):
            stamp = drive.stamps[index] if drive.stamps is not None else None
            rows = as_rows(in_file_frame(found, frame.to_lidar))
            lines.write(json.dumps({"frame": frame.id, "stamp": stamp, **rows}) + "\n")
            if writer is not None:
                _show(writer, drive, index, frame, found, outputs)
            objects, dropped = objects + len(found), dropped + frame.dropped
            advance()
        if writer is not None:
            writer.finish()
    return objects, dropped


def _show(
    writer: DriveWriter, drive: Drive, index: int, frame: Frame, found: FrameDetections, outputs: Outputs
) -> None:
    stamp = drive.time(index, outputs.rate)
    time = drive.logged[index] if drive.logged is not None else stamp
    if drive.logged is None:
        writer.cloud(CLOUDS, frame.points, time, drive.frame_id)
    else:
        found = in_file_frame(found, frame.to_lidar)
    boxes = Boxes(found.boxes, found.names, found.scores, outputs.colours)
    writer.boxes(BOXES, boxes, time, stamp, drive.frame_id)
