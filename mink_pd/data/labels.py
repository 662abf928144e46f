"""KITTI label files (15 fields a line) and detection files (16: a score at the end)."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from mink_pd.data.objects import Objects
from mink_pd.data.parse import parse_lines
from mink_pd.errors import DataError
from mink_pd.files import whole_file

DONT_CARE = "DontCare"
CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
_FIELDS = 15  # name, truncated, occluded, alpha, bbox 4, dimensions 3, location 3, rotation_y
_WIDTHS = {True: [_FIELDS + 1], False: [_FIELDS], None: [_FIELDS, _FIELDS + 1]}  # by whether scores are wanted


def read_objects(path: str | Path, *, classes: Collection[str] = (), scores: bool | None = None) -> Objects:
    """Read a label or detection file; an empty one gives no rows.

    classes: names allowed besides KITTI's eight and DontCare. Case makes no difference, as in the official
    evaluator; names are returned in their official spelling.
    scores: True wants a score on every line, False on none, None either (all lines alike). In an empty file
    ``score`` is then None.

    Raises DataError naming file and line: wrong number of fields, not a number, an unknown class.
    """
    return read_all_objects([Path(path)], classes=classes, scores=scores)[0]


def read_all_objects(
    paths: Sequence[Path], *, classes: Collection[str] = (), scores: bool | None = None
) -> list[Objects]:
    """:func:`read_objects` of many files, in one compiled pass. Raises DataError for the first file with a fault."""
    spelling = {name.lower(): name for name in (*CLASSES, DONT_CARE, *classes)}
    texts = [_bytes(path) for path in paths]
    lines = parse_lines([text or b"" for text in texts], list(spelling), _WIDTHS[scores])
    names = np.array(list(spelling.values()), dtype=np.str_)[lines.name]
    occluded = lines.table[:, 1].astype(np.int64)
    fractional = np.flatnonzero(occluded != lines.table[:, 1])
    lines.plain[np.searchsorted(lines.first, fractional, side="right") - 1] = False
    result = []
    for file, path in enumerate(paths):
        if texts[file] is None or not lines.plain[file]:
            result.append(_read_with_care(path, spelling, scores))
            continue
        rows = slice(lines.first[file], lines.first[file + 1])
        width = int(lines.width[file]) or _WIDTHS[scores][0]
        result.append(_objects(names[rows], occluded[rows], lines.table[rows, : width - 1]))
    return result


def _read_with_care(path: Path, spelling: dict[str, str], scores: bool | None) -> Objects:
    """Read line by line: slower, and able to name the line and the field that is wrong."""
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
                f"{path}:{number}: unknown class '{fields[0]}'; mend it, or name it in data.classes (in eval_kitti by"
                f" --classes); known are {known}"
            )
        names.append(spelling[fields[0].lower()])
        rows.append(_numbers(fields[1:], f"{path}:{number}"))
    table = np.array(rows, dtype=np.float64).reshape(len(rows), (width or _FIELDS) - 1)
    return _objects(np.array(names, dtype=np.str_), table[:, 1].astype(np.int64), table)


def _objects(names: np.ndarray, occluded: np.ndarray, table: np.ndarray) -> Objects:
    return Objects(
        names=names,
        truncated=table[:, 0],
        occluded=occluded,
        alpha=table[:, 2],
        bbox=table[:, 3:7],
        dimensions=table[:, 7:10],
        location=table[:, 10:13],
        rotation_y=table[:, 13],
        score=table[:, 14] if table.shape[1] == _FIELDS else None,
    )


def write_objects(path: str | Path, objects: Objects) -> None:
    """Write a label file (no score: two decimals, as the benchmark's own) or a detection file (six decimals,
    more than float32 holds at a LiDAR's range; the score to nine digits, which is all of float32).

    Official label files come back byte for byte. Raises DataError where the file cannot be written.
    """
    with whole_file(path) as file:
        file.writelines(_format(objects, row) + "\n" for row in range(len(objects)))


def _bytes(path: Path) -> bytes | None:
    """The file's content; None where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return None


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
