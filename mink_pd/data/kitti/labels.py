"""KITTI label files (15 fields per line) and detection files (16 fields, with a score at the end)."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mink_pd.data.objects import Objects
from mink_pd.errors import ConfigError, DataError
from mink_pd.files import is_number, read_text, whole_file

DONT_CARE = "DontCare"
CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
_FIELDS = 15  # name, truncated, occluded, alpha, bbox 4, dimensions 3, location 3, rotation_y
_TURN = 2 * math.pi + 1e-3
_NAME_IT = "correct it, or add it to data.classes"


def read_objects(
    path: str | Path, *, classes: Collection[str] = (), scores: bool | None = None, name_it: str = _NAME_IT
) -> Objects:
    """Read a label or detection file; an empty one has no rows.

    classes: names allowed in addition to KITTI's eight and DontCare. They are compared case-insensitively, as in the
    official evaluator, and returned in their official spelling.
    scores: True: every line needs a score; False: no line may have one; None: either, but equal for all lines, and
    ``score`` is None for an empty file.
    name_it: what the user can do about a class that is not allowed; {} stands for its name.

    Raises DataError that names file and line for a wrong number of fields, a field that is not a number, an unknown
    class, a size that is not positive, an image box from right to left, or a rotation beyond 2 pi; ConfigError for
    ``classes`` that no such file can hold (:func:`check_class_names`).
    """
    return read_all_objects([Path(path)], classes=classes, scores=scores, name_it=name_it)[0]


def read_all_objects(
    paths: Sequence[Path], *, classes: Collection[str] = (), scores: bool | None = None, name_it: str = _NAME_IT
) -> list[Objects]:
    """:func:`read_objects` for many files; the benchmark's 7,481 take a second. Raises DataError for a file at fault.

    The values of all files are checked together: for files of a few lines, a check of its own costs more than reading.
    """
    check_class_names(classes)
    spelling = {name.lower(): name for name in (*CLASSES, DONT_CARE, *classes)}
    files = [_parse(path, spelling, scores, name_it) for path in paths]
    rows = [row for file in files for row in file.rows]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), _FIELDS)  # (N, 15)
    _check(files, table)
    ends = np.cumsum([len(file.rows) for file in files]).tolist()
    return [_objects(file, table[end - len(file.rows) : end]) for file, end in zip(files, ends, strict=True)]


def check_class_names(names: Iterable[str]) -> None:
    """Raise ConfigError for a name with white space: it separates the fields of KITTI's files."""
    wrong = next((name for name in names if name.split() != [name]), None)
    if wrong is not None:
        raise ConfigError(
            f"'data.classes': '{wrong}' has white space, which separates the fields of KITTI's files; name the class"
            f" {'_'.join(wrong.split())}, or let detect write JSON (--out NAME.jsonl)"
        )


@dataclass
class _File:
    """The lines of one file."""

    path: Path
    scored: bool  # whether the lines have scores
    numbers: list[int] = field(default_factory=list)  # of the lines, from 1
    names: list[str] = field(default_factory=list)  # classes in their official spelling
    rows: list[list[float]] = field(default_factory=list)  # the other 14 fields and the score, 0 without one


def _parse(path: Path, spelling: dict[str, str], scores: bool | None, name_it: str) -> _File:
    file = _File(path, scored=bool(scores))
    width = {True: _FIELDS + 1, False: _FIELDS, None: 0}[scores]
    text = read_text(path, remedy="give a KITTI label or detection file")
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        width = width or (len(fields) if len(fields) in (_FIELDS, _FIELDS + 1) else 0)
        name = spelling.get(fields[0].lower())
        if len(fields) != width or name is None:
            raise _malformed(f"{path}:{number}", fields, width, spelling, name_it)
        try:
            row = [float(word) for word in fields[1:]]
        except ValueError:
            wrong = next(word for word in fields[1:] if not is_number(word))
            raise DataError(f"{path}:{number}: '{wrong}' is not a number; correct or remove the line") from None
        file.scored = width == _FIELDS + 1
        file.rows.append(row if file.scored else [*row, 0.0])
        file.names.append(name)
        file.numbers.append(number)
    return file


def _malformed(where: str, fields: list[str], width: int, spelling: dict[str, str], name_it: str) -> DataError:
    if len(fields) != width:
        wanted = width or f"{_FIELDS} (label) or {_FIELDS + 1} (detection)"
        return DataError(f"{where}: {len(fields)} fields instead of {wanted}; correct or remove the line")
    known = ", ".join(spelling.values())
    return DataError(f"{where}: unknown class '{fields[0]}'; {name_it.format(fields[0])}; known are {known}")


def _check(files: list[_File], table: np.ndarray) -> None:
    """Raise DataError for the first row of all files' table (N, 15) that cannot describe an object."""
    names = [name for file in files for name in file.names]
    region = np.array(names, dtype=np.str_) == DONT_CARE  # has only an image box; other fields are -1, -10 and -1000
    # Detections that have only an image box fill the 3D box with the same numbers.
    region |= (table[:, 7:10] == -1).all(axis=1) & (table[:, 10:13] == -1000).all(axis=1)
    faults = {
        "contains a number that is NaN or infinite": ~np.isfinite(table).all(axis=1),
        "occluded (the third field) is not a whole number": table[:, 1] != np.round(table[:, 1]),
        "height, width or length is not above 0": (table[:, 7:10] <= 0).any(axis=1) & ~region,
        "the image box goes from right to left or from bottom to top": (table[:, 5:7] < table[:, 3:5]).any(axis=1),
        "rotation_y is beyond 2 pi; it is in radians": (np.abs(table[:, 13]) > _TURN) & ~region,
    }
    for fault, rows in faults.items():
        if rows.any():
            where = [f"{file.path}:{number}" for file in files for number in file.numbers][int(rows.argmax())]
            raise DataError(f"{where}: {fault}; correct or remove the line")


def _objects(file: _File, table: np.ndarray) -> Objects:
    return Objects(
        names=np.array(file.names, dtype=np.str_),
        truncated=table[:, 0],
        occluded=table[:, 1].astype(np.int64),
        alpha=table[:, 2],
        bbox=table[:, 3:7],
        dimensions=table[:, 7:10],
        location=table[:, 10:13],
        rotation_y=table[:, 13],
        score=table[:, 14] if file.scored else None,
    )


def write_objects(path: str | Path, objects: Objects) -> None:
    """Write a label file or, with scores, a detection file.

    Labels have two decimals, like the benchmark's, and official label files are reproduced byte for byte. Detections
    have six decimals, more than float32 resolves at a LiDAR's range; scores have nine digits, enough for float32.
    Raises DataError if the file cannot be written, ConfigError for a name that it cannot hold.
    """
    check_class_names(np.unique(objects.names).tolist())
    with whole_file(path) as file:
        file.writelines(_format(objects, row) + "\n" for row in range(len(objects)))


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
    if objects.names[row] == DONT_CARE:  # except the image box, all fields are whole numbers
        truncated = f"{objects.truncated[row]:g}"
        texts = [text.removesuffix(".00") if i not in range(1, 5) else text for i, text in enumerate(texts)]
    return " ".join([str(objects.names[row]), truncated, str(objects.occluded[row]), *texts])
