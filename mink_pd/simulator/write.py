"""Writes simulated data sets in the layout of KITTI's object benchmark."""

import json
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mink_pd.data.kitti.labels import write_objects
from mink_pd.data.objects import Objects
from mink_pd.errors import DataError
from mink_pd.files import read_json, replaceable_folder
from mink_pd.simulator.draws import frame_rng
from mink_pd.simulator.drive import write_drive
from mink_pd.simulator.kitti_labels import make_labels
from mink_pd.simulator.rig import object_calibration_lines
from mink_pd.simulator.sensor import Scan, scan
from mink_pd.simulator.street import random_scene
from mink_pd.simulator.world import DEFAULT_WORLD, world_named

VERSION = 1  # to be raised whenever the same seed gives other bytes
MANIFEST = "simulator.json"
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Settings:
    """Everything that a simulated data set depends on."""

    train: int = 240  # frames
    val: int = 80  # frames
    seed: int = 0
    drive: int = 0  # scans of the raw drive; 0: no drive
    world: str = DEFAULT_WORLD  # name of the kind of streets
    version: int = VERSION


@dataclass
class Summary:
    """The content of one frame."""

    points: int
    names: Counter  # labelled objects by class


def simulate_frame(seed: int, frame: int, world: str = DEFAULT_WORLD) -> tuple[Scan, Objects]:
    """Scan and labels of one frame. They depend only on seed, frame and world."""
    rng, kind = frame_rng(seed, frame), world_named(world)
    snapshot = random_scene(rng, world=kind).snapshot()
    result = scan(snapshot, rng, optics=kind.optics)
    return result, make_labels(snapshot, result)


def simulate(
    out: Path,
    settings: Settings,
    workers: int = 1,
    force: bool = False,
    advance: Callable[[], object] = lambda: None,
) -> list[Summary] | None:
    """Write a data set to ``out``, completely or not at all; returns None if it exists already.

    advance: called after each frame.
    Raises the errors of :func:`new_data_set`.
    """
    with new_data_set(out, asdict(settings), force) as root:
        if root is None:
            return None
        summaries = _write_frames(root, settings, workers, advance)
        if settings.drive:
            for _ in write_drive(root / "raw", settings.seed, settings.drive, settings.world):
                advance()
    return summaries


@contextmanager
def new_data_set(out: Path, settings: Mapping[str, Any], force: bool) -> Iterator[Path | None]:
    """A folder beside ``out`` to fill. When the block ends without an error, it gets a record of the settings and is
    renamed to ``out``; a link is followed. Yields None if these settings have written ``out`` already.

    Raises DataError if ``out`` cannot be written, was made with other settings (unless ``force``), or was not written
    by the simulator, and the errors of :func:`replaceable_folder`.
    """
    if _present(out, settings, force):
        yield None
        return
    goal = replaceable_folder(out)
    building = goal.with_name(f".{goal.name}.{os.getpid()}")
    replaced = building.with_name(f"{building.name}.old")
    try:
        building.mkdir(parents=True)
        yield building
        (building / MANIFEST).write_text(json.dumps(settings, indent=2) + "\n")
        if goal.exists():
            os.replace(goal, replaced)
        os.replace(building, goal)
    except OSError as error:
        raise DataError(
            f"{out}: cannot be written ({error.strerror}); choose a writable folder with enough space"
        ) from None
    finally:
        for leftover in (building, replaced):
            shutil.rmtree(leftover, ignore_errors=True)


def _present(out: Path, settings: Mapping[str, Any], force: bool) -> bool:
    """Whether ``out`` was written with ``settings``. Raises DataError if it must not be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = read_json(out / MANIFEST)
        if not isinstance(found, dict):
            raise DataError(MANIFEST)
    except DataError:
        raise DataError(f"{out}: is not a simulated data set (it lacks {MANIFEST}); name another folder") from None
    if found == settings and not force:
        return True
    if not force:
        wanted = settings.items()
        changed = [f"{key} {found.get(key)}, not {value}" for key, value in wanted if found.get(key) != value]
        raise DataError(
            f"{out}: holds a data set made with other settings ({'; '.join(changed)}); "
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
    return map_processes(
        partial(write_frame, training, settings.seed, world=settings.world),
        splits["trainval"],
        workers,
        advance,
        chunk=4,
    )


def map_processes(
    work: Callable[[T], R], items: Sequence[T], workers: int, advance: Callable[[], object], chunk: int = 1
) -> list[R]:
    """The results of ``work`` for all items, computed by ``workers`` processes.

    advance: called after each item.
    chunk: number of items that a process takes at a time.
    """
    with ExitStack() as stack:
        results: Iterator[R] = map(work, items)
        if workers > 1:  # spawned, because Open3D's threads do not survive a fork
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=context))
            results = pool.map(work, items, chunksize=chunk)
        done = []
        for result in results:
            done.append(result)
            advance()
    return done


def write_frame(training: Path, seed: int, frame: int, world: str = DEFAULT_WORLD) -> Summary:
    """Simulate one frame and write its point cloud, calibration and labels."""
    result, objects = simulate_frame(seed, frame, world)
    name = f"{frame:06d}"
    result.points.tofile(training / "velodyne" / f"{name}.bin")
    (training / "calib" / f"{name}.txt").write_text(object_calibration_lines())
    write_objects(training / "label_2" / f"{name}.txt", objects)
    return Summary(len(result.points), Counter(objects.names.tolist()))
