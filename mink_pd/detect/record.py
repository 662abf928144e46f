"""Which cloud each file of detections was found in: another cloud of the same name must not pass for it."""

import contextlib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mink_pd.data.frame import Frame
from mink_pd.files import append_line, read_text

INPUTS = "detect.inputs.jsonl"  # next to the detections; the last line of a frame counts


@dataclass(frozen=True)
class Input:
    """sha256 of all of a frame that detections depend on; its files as they were (path, size, time), if known."""

    sha256: str
    files: list[str]


class InputRecord:
    """The inputs of a folder's detections. Several processes may add lines at once.

    A line is written before the detections, so that a process that dies leaves none without it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / INPUTS
        self.known: dict[str, Input] = {}
        for line in read_text(self.path).splitlines() if self.path.exists() else ():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was cut off
                row = json.loads(line)
                self.known[str(row["frame"])] = Input(str(row["sha256"]), [str(file) for file in row["files"]])

    def add(self, frame: Frame, paths: Iterable[Path]) -> None:
        """Say what is being detected in. Raises DataError where that cannot be written."""
        one = Input(digest(frame), describe(paths))
        append_line(self.path, json.dumps({"frame": frame.id, "sha256": one.sha256, "files": one.files}))
        self.known[frame.id] = one


def describe(paths: Iterable[Path]) -> list[str]:
    """Path, size [bytes] and time of change [ns] of files; those that are gone say so."""
    lines = []
    for path in paths:
        real = path.resolve()
        try:
            status = real.stat()
            lines.append(f"{real} {status.st_size} {status.st_mtime_ns}")
        except OSError:
            lines.append(f"{real} missing")
    return lines


def digest(frame: Frame) -> str:
    """sha256 of the points as the detector gets them, the calibration and the image's size."""
    result = hashlib.sha256(f"{frame.points.dtype} {frame.points.shape} {frame.image_size}".encode())
    arrays = [frame.points, *(vars(frame.calibration).values() if frame.calibration else ())]
    for array in arrays:
        result.update(np.ascontiguousarray(array).tobytes())
    return result.hexdigest()
