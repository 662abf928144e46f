"""Detections of any origin in the frame of the clouds' files: a folder with ID.json per frame, as ``mink-pd
detect`` writes it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mink_pd.detect.predict import FrameDetections
from mink_pd.errors import DataError
from mink_pd.files import read_json

_MOST_YAW = 3 * math.pi  # detectors with a direction step give a quarter of pi to two and a quarter
_CONTENT = "write 'boxes' (x, y, z, l, w, h, yaw), 'names' and 'scores' with one entry per box"


def read_detections(folder: Path, ids: Sequence[str], classes: Sequence[str] = ()) -> dict[str, FrameDetections]:
    """The detections of the frames ``ids``.

    Raises DataError for a file that is missing or malformed, for a name that differs from one of ``classes`` in capital
    letters only, and if there are detections, but none of ``classes``.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder with ID.json for each frame")
    missing = [id for id in ids if not (folder / f"{id}.json").is_file()]
    if missing:
        raise DataError(
            f"{folder / missing[0]}.json: missing, the first of {len(missing)} out of {len(ids)} frames; detect in"
            " it too (the file may have no boxes), or choose another --split"
        )
    found = {id: _read(folder / f"{id}.json") for id in ids}
    if classes:
        _check_names(folder, found, classes)
    return found


def _check_names(folder: Path, found: dict[str, FrameDetections], classes: Sequence[str]) -> None:
    first = {str(name): id for id, one in reversed(found.items()) for name in one.names}  # where each name occurs first
    similar = {name.casefold(): name for name in classes}
    for name, id in first.items():
        if name not in classes and name.casefold() in similar:
            raise DataError(f"{folder / id}.json: '{name}' is '{similar[name.casefold()]}' in data.classes; write that")
    if first and not first.keys() & set(classes):
        raise DataError(
            f"{folder}: its detections are called {', '.join(sorted(first))}, and data.classes has"
            f" {', '.join(classes)}; write these names"
        )


def _read(path: Path) -> FrameDetections:
    content = read_json(path, remedy=_CONTENT)
    if not isinstance(content, dict):
        raise DataError(f"{path}: must contain keys and values; {_CONTENT}")
    boxes = _numbers(path, content, "boxes", 7)  # (D, 7)
    scores = _numbers(path, content, "scores", 1)[:, 0]  # (D,)
    names = content.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: 'names' must be a list of class names; {_CONTENT}")
    if not len(boxes) == len(scores) == len(names):
        raise DataError(f"{path}: {len(boxes)} boxes, {len(names)} names and {len(scores)} scores; {_CONTENT}")
    if (boxes[:, 3:6] <= 0).any():
        row = int(np.flatnonzero((boxes[:, 3:6] <= 0).any(axis=1))[0])
        raise DataError(f"{path}: box {row} has a length, width or height that is not positive; {_CONTENT}")
    if (np.abs(boxes[:, 6]) > _MOST_YAW).any():
        row = int(np.flatnonzero(np.abs(boxes[:, 6]) > _MOST_YAW)[0])
        raise DataError(f"{path}: the yaw of box {row} is beyond 3 pi; write radians, not degrees")
    return FrameDetections(boxes, np.array(names, dtype=np.str_), scores)


def _numbers(path: Path, content: dict[str, Any], key: str, columns: int) -> np.ndarray:
    """The numbers under ``key``: float64 (N, columns)."""
    values = content.get(key)
    if values == []:
        return np.zeros((0, columns))
    try:
        rows = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        rows = np.zeros(())
    if rows.shape[1:] != ((columns,) if columns > 1 else ()) or not rows.ndim:
        what = f"rows of {columns} numbers" if columns > 1 else "numbers"
        raise DataError(f"{path}: '{key}' must be a list of {what}; {_CONTENT}")
    if not np.isfinite(rows).all():
        raise DataError(f"{path}: '{key}' contains a number that is NaN or infinite; {_CONTENT}")
    return rows.reshape(len(rows), columns)
