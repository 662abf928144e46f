"""Ground-truth sampling: objects of other frames pasted into a frame (SECOND, Yan et al., Sensors 2018,
"Sample Ground Truths from the Database")."""

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

BEV = [0, 1, 3, 4, 6]  # columns of a box that its rectangle from above consists of
_VERSION = 3  # of the file; another one is built anew
_GROUND, _STANDING = 0.4, 3  # height over a box's bottom [m] up to which points are ground; points that are something
_PROGRESS_FROM = 200  # frames from which building is slow enough to show progress

logger = logging.getLogger(__name__)


@dataclass
class Database:
    """N labelled objects with their points, where they were found.

    points float32 (S, 4 or more), object i's at rows offsets[i] to offsets[i + 1]; offsets int64 (N + 1,); boxes
    float32 (N, 7); names (N,); velocities float32 (N, 2) [m/s], nan where unknown.
    """

    points: np.ndarray
    offsets: np.ndarray
    boxes: np.ndarray
    names: np.ndarray
    velocities: np.ndarray

    def paste(self, frame: Frame, wanted: Mapping[str, int], min_points: int, rng: np.random.Generator) -> Frame:
        """Fill each class up to ``wanted`` objects with ones of at least ``min_points`` points drawn at
        random.

        An object that overlaps a box of the frame (of any class) or an earlier pasted one from above is left
        out, so a class may stay below its number. In an unlabelled frame, whose objects are not all known, so is one
        where something stands. Points of the frame inside pasted boxes give way. Pasted boxes come last.
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
    """Which of the boxes (C, 7) hold points of something that stands on the ground: bool (C,)."""
    above = boxes.copy()
    above[:, 2] += _GROUND / 2
    above[:, 5] -= _GROUND
    return np.bincount(pairs_in_boxes(points, above)[0], minlength=len(boxes)) >= _STANDING


def _free(boxes: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Which of the boxes (C, 7) can be put down one after the other without overlapping: bool (C,)."""
    hits = bev_intersection(boxes[:, BEV], np.concatenate([present, boxes])[:, BEV]) > 0  # (C, B + C)
    free = ~hits[:, : len(present)].any(axis=1)
    among = hits[:, len(present) :]
    for c in range(len(boxes)):
        free[c] &= not (among[c, :c] & free[:c]).any()
    return free


# Settings of the data that frames do not depend on as the data set gives them, or that the fingerprint holds.
_WITHOUT_EFFECT = {"root", "range", "workers", "cache_mb", "augment", "beams", "class_balanced", "val_split"}


def load_database(dataset: Dataset, config: DataConfig | None = None) -> Database:
    """The database of a data set's objects, from the cache file or built and cached.

    The file lies in ``<root>/.mink_pd``, or in the user's cache folder where the root is read-only. Its name
    changes with the split and its files, and with the settings of ``config`` that frames may depend on, such as how
    classes are spelt. Several processes may do this at once: each writes a whole file.
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
    """Collect every labelled object that contains points, frame by frame."""
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
    # Root may write anywhere, but a folder without write permission for anyone is meant to stay as it is.
    writable = os.access(root, os.W_OK) and root.stat().st_mode & 0o222
    return [root / ".mink_pd", *cache_folders()] if writable else cache_folders()


def _read(path: Path) -> Database | None:
    """The cached database; None where there is none or it is damaged."""
    try:
        with np.load(path) as file:
            return Database(**{field.name: file[field.name] for field in fields(Database)})
    except Exception:  # NumPy and zipfile raise a dozen kinds; it is built again
        return None
