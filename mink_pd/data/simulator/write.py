"""Writes simulated data sets in the object benchmark's layout."""

import json
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from mink_pd.data.labels import write_objects
from mink_pd.data.objects import Objects
from mink_pd.data.simulator.draws import frame_rng
from mink_pd.data.simulator.drive import write_drive
from mink_pd.data.simulator.labels import make_labels
from mink_pd.data.simulator.rig import object_calibration_lines
from mink_pd.data.simulator.sensor import Scan, scan
from mink_pd.data.simulator.street import random_scene
from mink_pd.errors import DataError

VERSION = 1  # raise it whenever the same seed would give other bytes
MANIFEST = "simulator.json"


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
    if _present(out, settings, force):
        return None
    building = out.parent / f".{out.name}.{os.getpid()}"
    replaced = building.with_name(f"{building.name}.old")
    try:
        building.mkdir(parents=True)
        summaries = _write_frames(building, settings, workers, advance)
        if settings.drive:
            for _ in write_drive(building / "raw", settings.seed, settings.drive):
                advance()
        (building / MANIFEST).write_text(json.dumps(asdict(settings), indent=2) + "\n")
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
    return summaries


def _present(out: Path, settings: Settings, force: bool) -> bool:
    """Whether ``out`` is what ``settings`` would write."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / MANIFEST).read_text())
    except (OSError, ValueError):
        raise DataError(f"{out}: exists and is no simulated data set (no {MANIFEST}); name another folder") from None
    if found == asdict(settings) and not force:
        return True
    if not force:
        wanted = asdict(settings).items()
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
    for summary in _each(partial(write_frame, training, settings.seed), splits["trainval"], workers):
        summaries.append(summary)
        advance()
    return summaries


def _each(work: Callable[[int], Summary], frames: range, workers: int) -> Iterator[Summary]:
    if workers <= 1:
        yield from map(work, frames)
        return
    # Open3D's threads do not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, frames, chunksize=4)


def write_frame(training: Path, seed: int, frame: int) -> Summary:
    """Simulate one frame and write its three files."""
    result, objects = simulate_frame(seed, frame)
    name = f"{frame:06d}"
    result.points.tofile(training / "velodyne" / f"{name}.bin")
    (training / "calib" / f"{name}.txt").write_text(object_calibration_lines())
    write_objects(training / "label_2" / f"{name}.txt", objects)
    return Summary(len(result.points), Counter(objects.names.tolist()))
