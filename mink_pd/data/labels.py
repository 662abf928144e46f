"""KITTI label files (15 fields a line) and detection files (16: a score at the end)."""

import math
from collections.abc import Collection
from pathlib import Path

import numpy as np

from mink_pd.data.files import whole_file
from mink_pd.data.objects import Objects
from mink_pd.errors import DataError

DONT_CARE = "DontCare"
CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
_FIELDS = 15  # name, truncated, occluded, alpha, bbox 4, dimensions 3, location 3, rotation_y


def read_objects(path: str | Path, *, classes: Collection[str] = (), scores: bool | None = None) -> Objects:
    """Read a label or detection file; an empty one gives no rows.

    classes: names allowed besides KITTI's eight and DontCare. Case makes no difference, as in the official
    evaluator; names are returned in their official spelling.
    scores: True wants a score on every line, False on none, None either (all lines alike). In an empty file
    ``score`` is then None.

    Raises DataError naming file and line: wrong number of fields, not a number, an unknown class.
    """
    path = Path(path)
    spelling = {name.lower(): name for name in (*CLASSES, DONT_CARE, *classes)}
    names: list[str] = []
    rows: list[list[float]] = []
    width = {True: _FIELDS + 1, False: _FIELDS, None: 0}[scores]
    for number, line in enumerate(_lines(path), start=1):
        fields = line.split()
        if not fields:
            continue
        if width == 0 and len(fields) in (_FIELDS, _FIELDS + 1):
            width = len(fields)
        if len(fields) != width:
            wanted = width or f"{_FIELDS} (label) or {_FIELDS + 1} (detection)"
            raise DataError(f"{path}:{number}: {len(fields)} fields instead of {wanted}; mend or remove the line")
        if fields[0].lower() not in spelling:
            known = ", ".join(spelling.values())
            raise DataError(
                f"{path}:{number}: unknown class '{fields[0]}'; mend it, or add it to data.classes (known: {known})"
            )
        names.append(spelling[fields[0].lower()])
        rows.append(_numbers(fields[1:], f"{path}:{number}"))
    table = np.array(rows, dtype=np.float64).reshape(len(rows), (width or _FIELDS) - 1)
    return Objects(
        names=np.array(names, dtype=np.str_),
        truncated=table[:, 0],
        occluded=table[:, 1].astype(np.int64),
        alpha=table[:, 2],
        bbox=table[:, 3:7],
        dimensions=table[:, 7:10],
        location=table[:, 10:13],
        rotation_y=table[:, 13],
        score=table[:, 14] if width == _FIELDS + 1 else None,
    )


def write_objects(path: str | Path, objects: Objects) -> None:
    """Write a label file (no score: two decimals, as the benchmark's own) or a detection file (six decimals,
    more than float32 holds at a LiDAR's range; the score to nine digits, which is all of float32).

    Official label files come back byte for byte. Raises DataError where the file cannot be written.
    """
    with whole_file(path) as file:
        file.writelines(_format(objects, row) + "\n" for row in range(len(objects)))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a KITTI label or detection file") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not a text file; give a KITTI label or detection file") from None


def _numbers(fields: list[str], place: str) -> list[float]:
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        wrong = next(field for field in fields if not _is_number(field))
        raise DataError(f"{place}: '{wrong}' is not a number; mend or remove the line") from None
    if not all(map(math.isfinite, numbers)):
        raise DataError(f"{place}: holds a number that is NaN or infinite; mend or remove the line")
    if not numbers[1].is_integer():
        raise DataError(f"{place}: occluded is {fields[1]}, not a whole number; mend or remove the line")
    return numbers


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _format(objects: Objects, row: int) -> str:
    values = [
        objects.alpha[row],
        *objects.bbox[row],
        *objects.dimensions[row],
        *objects.location[row],
        objects.rotation_y[row],
    ]
    if objects.score is not None:
        head = f"{objects.names[row]} {objects.truncated[row]:g} {objects.occluded[row]}"
        return " ".join([head, *(f"{value:.6f}" for value in values), f"{objects.score[row]:.9g}"])
    truncated = f"{objects.truncated[row]:.2f}"
    texts = [f"{value:.2f}" for value in values]
    if objects.names[row] == DONT_CARE:  # all but the image box is filled with whole numbers
        truncated = f"{objects.truncated[row]:g}"
        texts = [text.removesuffix(".00") if i not in range(1, 5) else text for i, text in enumerate(texts)]
    return " ".join([str(objects.names[row]), truncated, str(objects.occluded[row]), *texts])
