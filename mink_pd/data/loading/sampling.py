"""Ground-truth sampling: objects of other frames are pasted into a frame (SECOND, Yan et al., Sensors 2018, "Sample
Ground Truths from the Database")."""

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from mink_pd.boxes.geometry import pairs_in_boxes
from mink_pd.boxes.iou import bev_intersection
from mink_pd.config import DataConfig
from mink_pd.data import Dataset
from mink_pd.data.frame import Frame
from mink_pd.errors import DataError
from mink_pd.files import cache_folders, whole_file

BEV = [0, 1, 3, 4, 6]  # columns of a box that describe its bird's-eye-view rectangle
_VERSION = 3  # of the cache file; other versions are rebuilt
_GROUND = 0.4  # points up to this height above a box's bottom [m] are ground
_STANDING = 3  # this many other points in the box show that something stands there
_PROGRESS_FROM = 200  # number of frames above which progress is shown

logger = logging.getLogger(__name__)


@dataclass
class Database:
    """N labelled objects with their points, at their original positions."""

    points: np.ndarray  # (S, 4 or more) float32
    offsets: np.ndarray  # (N + 1,) int64; object i has points offsets[i] to offsets[i + 1]
    boxes: np.ndarray  # (N, 7) float32
    names: np.ndarray  # (N,)
    velocities: np.ndarray  # (N, 2) float32 [m/s]; nan where unknown

    def paste(self, frame: Frame, wanted: Mapping[str, int], min_points: int, rng: np.random.Generator) -> Frame:
        """Paste random objects of at least ``min_points`` points until each class has ``wanted`` objects.

        An object is not pasted if it overlaps, in bird's-eye view, a box of the frame of any class or an object pasted
        earlier, so a class may stay below its number. In an unlabelled frame, whose objects are not all known, it is
        also not pasted where something stands. Points of the frame inside pasted boxes are removed. Pasted boxes come
        last.
        """
        rows = self._draw(frame.names, wanted, min_points, rng)
        if not frame.labelled:
            rows = rows[~_occupied(self.boxes[rows], frame.points)]
        rows = rows[_free(self.boxes[rows], frame.boxes)]
        if not len(rows):
            return frame
        covered = np.zeros(len(frame.points), dtype=bool)
        covered[pairs_in_boxes(frame.points, self.boxes[rows])[1]] = True
        pasted = [self.points[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        return replace(
            frame,
            points=np.concatenate([frame.points[~covered], *pasted]),
            boxes=np.concatenate([frame.boxes, self.boxes[rows]]),
            names=np.concatenate([frame.names, self.names[rows]]),
            velocities=None if frame.velocities is None else np.concatenate([frame.velocities, self.velocities[rows]]),
            objects=None,
            scores=None if frame.scores is None else np.append(frame.scores, np.full(len(rows), np.inf, np.float32)),
        )

    def _draw(
        self, present: np.ndarray, wanted: Mapping[str, int], min_points: int, rng: np.random.Generator
    ) -> np.ndarray:
        enough = np.diff(self.offsets) >= min_points
        drawn = [np.zeros(0, np.int64)]
        for name, count in wanted.items():
            candidates = np.flatnonzero(enough & (self.names == name))
            missing = min(count - np.count_nonzero(present == name), len(candidates))
            if missing > 0:
                drawn.append(rng.choice(candidates, missing, replace=False))
        return np.concatenate(drawn)


def _occupied(boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Mask (C,) of the boxes (C, 7) that contain points of something that stands on the ground."""
    above = boxes.copy()
    above[:, 2] += _GROUND / 2
    above[:, 5] -= _GROUND
    return np.bincount(pairs_in_boxes(points, above)[0], minlength=len(boxes)) >= _STANDING


def _free(boxes: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Mask (C,) of the boxes (C, 7) that can be placed one after another without overlap."""
    hits = bev_intersection(boxes[:, BEV], np.concatenate([present, boxes])[:, BEV]) > 0  # (C, B + C)
    free = ~hits[:, : len(present)].any(axis=1)
    among = hits[:, len(present) :]
    for c in range(len(boxes)):
        free[c] &= not (among[c, :c] & free[:c]).any()
    return free


# Settings of the data that do not affect the data set's frames, or that the fingerprint includes.
_WITHOUT_EFFECT = {
    "root",
    "range",
    "workers",
    "cache_mb",
    "augment",
    "beams",
    "class_balanced",
    "repeat",
    "also",
    "val_split",
}


def load_database(dataset: Dataset, config: DataConfig | None = None) -> Database:
    """The database of a data set's objects, read from the cache file or built and cached.

    The file is in ``<root>/.mink_pd``, or in the user's cache folder if the root is read-only. Its name changes with
    the split and its files, and with the settings of ``config`` that may affect frames, such as the spelling of
    classes. Several processes may call this at once, as each writes a complete file.
    """
    settings = "" if config is None else config.model_dump_json(exclude=_WITHOUT_EFFECT)
    key = f"{_VERSION} {dataset.fingerprint()} {settings}"
    name = f"objects-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    folders = _cache_folders(Path(dataset.root))
    for folder in folders:
        database = _read(folder / name)
        if database is not None:
            return database
    database = build_database(dataset)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with whole_file(folder / name, "wb") as file:
                np.savez(file, **vars(database))
        except (OSError, DataError):
            continue  # the next folder
        return database
    logger.warning("the ground-truth database cannot be cached: %s is not writable", folders[-1])
    return database


def build_database(dataset: Dataset) -> Database:
    """Collect all labelled objects that contain points."""
    points, boxes, names, velocities, sizes = [], [], [], [], [[0]]
    frames = track(
        range(len(dataset)),
        description="collecting objects for ground-truth sampling",
        console=Console(stderr=True),
        transient=True,
        disable=len(dataset) < _PROGRESS_FROM,
    )
    for index in frames:
        frame = dataset[index]
        box, point = pairs_in_boxes(frame.points, frame.boxes)  # (N,) each
        size = np.bincount(box, minlength=len(frame.boxes))  # (B,)
        points.append(frame.points[point])
        boxes.append(frame.boxes[size > 0])
        unknown = np.full((len(size), 2), np.nan, np.float32)
        velocities.append((unknown if frame.velocities is None else frame.velocities)[size > 0])
        names += [str(name) for name in frame.names[size > 0]]
        sizes.append(size[size > 0].tolist())
    return Database(
        points=np.concatenate(points).astype(np.float32),
        offsets=np.cumsum(np.concatenate(sizes), dtype=np.int64),
        boxes=np.concatenate(boxes).astype(np.float32),
        names=np.array(names, dtype=np.str_),
        velocities=np.concatenate(velocities),
    )


def _cache_folders(root: Path) -> list[Path]:
    # The user root can write anywhere, but a folder without any write permission is not meant to change.
    writable = os.access(root, os.W_OK) and root.stat().st_mode & 0o222
    return [root / ".mink_pd", *cache_folders()] if writable else cache_folders()


def _read(path: Path) -> Database | None:
    """The cached database; None if there is none or it is damaged."""
    try:
        with np.load(path) as file:
            return Database(**{field.name: file[field.name] for field in fields(Database)})
    except Exception:  # NumPy and zipfile raise a dozen kinds; it is built again
        return None
