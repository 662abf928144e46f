"""Writes simulated data sets in the object benchmark's layout."""

import json
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mink_pd.data.labels import write_objects
from mink_pd.data.objects import Objects
from mink_pd.errors import DataError
from mink_pd.simulator.draws import frame_rng
from mink_pd.simulator.drive import write_drive
from mink_pd.simulator.kitti_labels import make_labels
from mink_pd.simulator.rig import object_calibration_lines
from mink_pd.simulator.sensor import Scan, scan
from mink_pd.simulator.street import random_scene

VERSION = 1  # raise it whenever the same seed would give other bytes
MANIFEST = "simulator.json"
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Settings:
    """Everything that a simulated data set depends on. drive: scans in the raw drive, 0 for none."""

    train: int = 240
    val: int = 80
    seed: int = 0
    drive: int = 0
    version: int = VERSION


@dataclass
class Summary:
    """What one frame holds: points, and how often each class is labelled."""

    points: int
    names: Counter


def simulate_frame(seed: int, frame: int) -> tuple[Scan, Objects]:
    """Scan and labels of one frame; depends on nothing but its two numbers."""
    rng = frame_rng(seed, frame)
    snapshot = random_scene(rng).snapshot()
    result = scan(snapshot, rng)
    return result, make_labels(snapshot, result)


def simulate(
    out: Path,
    settings: Settings,
    workers: int = 1,
    force: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> list[Summary] | None:
    """Write a data set to ``out``; None if it is there already. ``advance`` is called after each frame.

    All is written to a folder beside ``out`` that takes its name when it is complete. Raises DataError when
    ``out`` cannot be written, or holds something else: other settings (unless ``force``), or data that the
    simulator did not write.
    """
    with whole_data_set(out, asdict(settings), force) as root:
        if root is None:
            return None
        summaries = _write_frames(root, settings, workers, advance)
        if settings.drive:
            for _ in write_drive(root / "raw", settings.seed, settings.drive):
                advance()
    return summaries


@contextmanager
def whole_data_set(out: Path, settings: Mapping[str, Any], force: bool) -> Iterator[Path | None]:
    """A folder to fill, which becomes ``out``, with a record of its settings, when the block ends well; None if ``out``
    is what these settings have written already.

    Raises DataError when ``out`` cannot be written, or holds something else: other settings (unless ``force``), or data
    that the simulator did not write.
    """
    if _present(out, settings, force):
        yield None
        return
    building = out.parent / f".{out.name}.{os.getpid()}"
    replaced = building.with_name(f"{building.name}.old")
    try:
        building.mkdir(parents=True)
        yield building
        (building / MANIFEST).write_text(json.dumps(settings, indent=2) + "\n")
        if out.exists():
            os.replace(out, replaced)
        os.replace(building, out)
    except OSError as error:
        raise DataError(
            f"{out}: cannot be written ({error.strerror}); choose a place with room where you may write"
        ) from None
    finally:
        for leftover in (building, replaced):
            shutil.rmtree(leftover, ignore_errors=True)


def _present(out: Path, settings: Mapping[str, Any], force: bool) -> bool:
    """Whether ``out`` is what ``settings`` would write."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / MANIFEST).read_text())
    except (OSError, ValueError):
        raise DataError(f"{out}: exists and is no simulated data set (no {MANIFEST}); name another folder") from None
    if found == settings and not force:
        return True
    if not force:
        wanted = settings.items()
        changed = [f"{key} {found.get(key)}, not {value}" for key, value in wanted if found.get(key) != value]
        raise DataError(
            f"{out}: already holds a data set made with other settings ({'; '.join(changed)}); "
            "name another folder, or replace it with --force"
        )
    return False


def _write_frames(root: Path, settings: Settings, workers: int, advance: Callable[[], object]) -> list[Summary]:
    training = root / "training"
    for folder in ("velodyne", "calib", "label_2"):
        (training / folder).mkdir(parents=True)
    splits = {"train": range(settings.train), "val": range(settings.train, settings.train + settings.val)}
    splits["trainval"] = range(settings.train + settings.val)
    (root / "ImageSets").mkdir()
    for name, frames in splits.items():
        (root / "ImageSets" / f"{name}.txt").write_text("".join(f"{frame:06d}\n" for frame in frames))
    summaries = []
    for summary in each(partial(write_frame, training, settings.seed), splits["trainval"], workers, chunk=4):
        summaries.append(summary)
        advance()
    return summaries


def each(work: Callable[[T], R], items: Sequence[T], workers: int, chunk: int = 1) -> Iterator[R]:
    """``map``, in order, over processes, each of which takes ``chunk`` items at a time."""
    if workers <= 1:
        yield from map(work, items)
        return
    # Open3D's threads do not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, items, chunksize=chunk)


def write_frame(training: Path, seed: int, frame: int) -> Summary:
    """Simulate one frame and write its three files."""
    result, objects = simulate_frame(seed, frame)
    name = f"{frame:06d}"
    result.points.tofile(training / "velodyne" / f"{name}.bin")
    (training / "calib" / f"{name}.txt").write_text(object_calibration_lines())
    write_objects(training / "label_2" / f"{name}.txt", objects)
    return Summary(len(result.points), Counter(objects.names.tolist()))
