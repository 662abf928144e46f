"""Reading the clouds of a recorded drive."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from benchmarks.harness import Pair, Side
from benchmarks.inputs import Inputs, resized
from benchmarks.rows.row import Row
from benchmarks.thread_counts import Threads
from mink_pd.data.recordings import Recording
from mink_pd.data.recordings.drive_writer import DriveWriter
from mink_pd.data.recordings.pointcloud2 import MESSAGE

CLOUDS = 20
ONE_CORE = Threads(openmp=1, openblas=1)
FIELDS = ("x", "y", "z", "intensity")


def write_drive(path: Path, points: np.ndarray) -> Path:
    """A recording that repeats the same points (P, 4) ten times per second."""
    with path.open("wb") as file:
        writer = DriveWriter(file)
        for number in range(CLOUDS):
            writer.cloud("/points", points, (number + 1) * 100_000_000, "lidar")
        writer.finish()
    return path


def read_by_hand(path: Path) -> Iterator[np.ndarray]:
    """Clouds (P, 4) as one reads them without mink_pd: rosbags decodes the messages, NumPy views their fields."""
    types = get_typestore(Stores.LATEST)
    with Reader(path) as reader:
        for _, _, data in reader.messages():
            message: Any = types.deserialize_cdr(data, MESSAGE)
            assert not message.is_bigendian
            formats = [(field.name, field.offset) for field in message.fields if field.name in FIELDS]
            layout: Any = {
                "names": [name for name, _ in formats],
                "formats": ["<f4"] * len(formats),
                "offsets": [offset for _, offset in formats],
                "itemsize": message.point_step,
            }
            table = np.frombuffer(message.data, np.dtype(layout))
            points = np.stack([table[name] for name in FIELDS], axis=1)
            yield points[np.isfinite(points).all(axis=1) & points[:, :3].any(axis=1)]


def read_by_us(path: Path) -> Iterator[np.ndarray]:
    """The clouds of the same recording, opened anew. Opening checks every message before the first cloud."""
    recording = Recording(path)
    for frame in recording:
        yield frame.points
    recording.close()


def mcap(inputs: Inputs) -> Pair:
    points = resized(inputs.sweep, inputs.sizes.sweep // 2)
    path = write_drive(inputs.folder / "drive.mcap", points)

    def check() -> None:
        for ours, theirs in zip(read_by_us(path), read_by_hand(path), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    note = (
        f"{CLOUDS} clouds of {len(points):,} points on one core, zstd, opening included; 100 clouds/s are"
        f" {CLOUDS * 10} ms. Ours reads the file twice, to refuse a damaged one before any work"
    )
    ours, peer = (Side(partial(_all, read, path), ONE_CORE) for read in (read_by_us, read_by_hand))
    return Pair(ours, peer, check=check, notes=[note])


def _all(read: Callable[[Path], Iterator[np.ndarray]], path: Path) -> int:
    """The total number of points."""
    return sum(len(points) for points in read(path))


ROWS = [Row("mcap", f"reading {CLOUDS} clouds of 60,000 points from MCAP", "rosbags and NumPy by hand", None, mcap)]
