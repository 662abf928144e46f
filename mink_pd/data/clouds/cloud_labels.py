"""Labels in the LiDAR frame: lines ``x y z l w h yaw class``, and the JSON of labelling tools.

The JSON formats are those of SUSTechPOINTS, labelCloud (centroid formats), and Supervisely for point clouds, which CVAT
also exports. The keys in a file determine its format.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mink_pd.boxes.geometry import wrap_angle
from mink_pd.errors import DataError
from mink_pd.files import is_number, read_json, read_text

SUFFIXES = (".txt", ".json")
NO_LABELS = ("_classes.json",)  # what labelling tools write beside the label files
_MOST_TILT = 0.35  # largest roll or pitch of a box [rad] that is ignored; more would move its corners visibly
_UNIT = 0.01  # largest deviation of a quaternion's length from 1, as rounded values have
_XYZ = ("x", "y", "z")
_FORMAT = "x y z l w h yaw class"


@dataclass(frozen=True)
class Row:
    """One object as in the label file."""

    box: tuple[float, ...]  # x, y, z, l, w, h, yaw in the label's frame
    name: str  # in the label file
    location: str  # file and line, or file and object, for messages


@dataclass(frozen=True)
class Labels:
    """The objects of one frame."""

    boxes: np.ndarray  # (B, 7) float32
    names: np.ndarray  # (B,)


def read_labels(
    path: Path, names: Mapping[str, str | None], unit: Literal["radians", "degrees"], to_lidar: np.ndarray | None
) -> Labels:
    """Read a label file; an empty one has no objects.

    names: class by the name in the file in lower case; None: leave such objects out.
    unit: of yaw in the file.
    to_lidar: transform (4, 4) from the file's frame to x forward, y left, z up [m]; None: it is that frame.
    Raises DataError that names file and line, or object, for an unknown name, a size that is not positive, or a yaw in
    degrees.
    """
    rows = list(_from_text(path) if path.suffix.lower() == ".txt" else _from_json(path, unit))
    kept = [(row, names[row.name.lower()]) for row in rows if _known(row, names) is not None]
    boxes = np.array([_checked(row, unit) for row, _ in kept], np.float64).reshape(-1, 7)
    boxes[:, 6] = wrap_angle(boxes[:, 6])
    return Labels(moved(boxes, to_lidar).astype(np.float32), np.array([name for _, name in kept], dtype=np.str_))


def moved(boxes: np.ndarray, transform: np.ndarray | None) -> np.ndarray:
    """Boxes (B, 7) in another frame; ``transform`` (4, 4) rotates about z, scales and shifts; None: the same frame."""
    if transform is None:
        return boxes
    scale = np.cbrt(np.linalg.det(transform[:3, :3]))
    result = boxes.copy()
    result[:, :3] = boxes[:, :3] @ transform[:3, :3].T + transform[:3, 3]
    result[:, 3:6] *= scale
    result[:, 6] = wrap_angle(boxes[:, 6] + np.arctan2(transform[1, 0], transform[0, 0]))
    return result


def _known(row: Row, names: Mapping[str, str | None]) -> str | None:
    if row.name.lower() not in names:
        classes = ", ".join(sorted({name for name in names.values() if name}))
        raise DataError(
            f"{row.location}: unknown class '{row.name}'; add it to classes or ignore of dataset.yaml, or correct it"
            f" (classes: {classes})"
        )
    return names[row.name.lower()]


def _checked(row: Row, unit: str) -> list[float]:
    """The box with its yaw in radians. Raises DataError for impossible numbers."""
    *numbers, yaw = row.box
    if not all(map(math.isfinite, row.box)):
        raise DataError(f"{row.location}: a number is NaN or infinite; correct or remove the object")
    if min(numbers[3:]) <= 0:
        size = ", ".join(f"{value:g}" for value in numbers[3:])
        raise DataError(
            f"{row.location}: length, width and height are {size}; they must be above 0, correct the object"
        )
    if unit == "degrees":
        return [*numbers, math.radians(yaw)]
    if abs(yaw) > 2 * math.pi + 1e-3:
        raise DataError(f"{row.location}: yaw is {yaw:g}, beyond 2 pi; set yaw: degrees in dataset.yaml, or correct it")
    return [*numbers, yaw]


def _from_text(path: Path) -> Iterator[Row]:
    for number, line in enumerate(read_text(path, remedy="give a label file").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        location = f"{path}:{number}"
        if len(words) != 8:
            raise DataError(f"{location}: {len(words)} values instead of 8 ({_FORMAT}); correct or remove the line")
        try:
            yield Row(tuple(map(float, words[:7])), words[7], location)
        except ValueError:
            wrong = next(word for word in words[:7] if not is_number(word))
            raise DataError(f"{location}: '{wrong}' is not a number ({_FORMAT}); correct or remove the line") from None


def _from_json(path: Path, unit: str) -> Iterator[Row]:
    remedy = "save it again from the labelling tool"
    if not read_text(path, remedy=remedy).strip():
        return
    content = read_json(path, remedy=remedy)
    if isinstance(content, dict) and "objs" in content:
        content = content["objs"]
    if isinstance(content, list):
        objects, reader = content, _sustech
    elif isinstance(content, dict) and isinstance(content.get("figures"), list):
        listed = [item for item in _list(content.get("objects")) if isinstance(item, dict)]
        titles = {str(item.get("key")): item.get("classTitle") for item in listed}
        objects, reader = content["figures"], lambda item: _supervisely(item, titles)
    elif isinstance(content, dict) and isinstance(content.get("objects"), list):
        objects, reader = content["objects"], _labelcloud
    else:
        raise DataError(f"{path}: is not JSON of SUSTechPOINTS, labelCloud (centroid) or Supervisely; export it as one")
    full_turn = 360.0 if unit == "degrees" else 2 * math.pi
    for number, item in enumerate(objects, start=1):
        location = f"{path}: object {number}"
        try:
            name, centre, size, rotation = reader(item)
            values = [float(value) for value in (*centre, *size, *_angles(rotation, full_turn, location))]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(f"{location}: lacks a number or its class ({error}); save it again from the tool") from None
        tilt = max(abs(math.remainder(angle, full_turn)) if math.isfinite(angle) else 0.0 for angle in values[6:8])
        if tilt > _MOST_TILT * full_turn / (2 * math.pi):
            raise DataError(
                f"{location}: leans by {tilt:g} {unit} about x or y; boxes must stand upright, correct the object"
            )
        yield Row((*values[:6], values[8]), str(name), location)


def _angles(rotation: Any, full_turn: float, location: str) -> list[float]:
    """Roll, pitch and yaw in the file's unit. A rotation with w is a quaternion.

    Raises DataError for one whose length is not 1, which may be angles beside something else.
    """
    x, y, z = (float(rotation[axis]) for axis in _XYZ)
    if "w" not in rotation:
        return [x, y, z]
    w = float(rotation["w"])
    norm = math.hypot(w, x, y, z)
    if not abs(norm - 1) <= _UNIT:  # also of NaN
        raise DataError(
            f"{location}: its rotation has w, as a quaternion, but the length {norm:.3g} instead of 1; export angles"
            " x, y, z"
        )
    roll = math.atan2(2 * (w * x + y * z), w * w - x * x - y * y + z * z)
    pitch = math.asin(max(-1.0, min(1.0, 2 * (w * y - z * x) / norm**2)))
    yaw = math.atan2(2 * (w * z + x * y), w * w + x * x - y * y - z * z)
    return [angle * full_turn / (2 * math.pi) for angle in (roll, pitch, yaw)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _sustech(item: Any) -> tuple[Any, ...]:
    psr = item["psr"]
    position, scale = ([psr[part][axis] for axis in _XYZ] for part in ("position", "scale"))
    return item["obj_type"], position, scale, psr["rotation"]


def _labelcloud(item: Any) -> tuple[Any, ...]:
    size = [item["dimensions"][side] for side in ("length", "width", "height")]
    return item["name"], [item["centroid"][axis] for axis in _XYZ], size, item["rotations"]


def _supervisely(item: Any, titles: Mapping[Any, Any]) -> tuple[Any, ...]:
    shape = item["geometry"]
    name = titles[str(item["objectKey"])]
    position, size = ([shape[part][axis] for axis in _XYZ] for part in ("position", "dimensions"))
    return name, position, size, shape["rotation"]
