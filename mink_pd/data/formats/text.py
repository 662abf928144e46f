"""Tables of numbers as text, in PCD and PLY files."""

from pathlib import Path

import numpy as np

from mink_pd.data.formats.counts import check_count
from mink_pd.errors import DataError


def read_table(body: bytes, count: int, types: list[np.dtype], path: Path, after: int = 0) -> list[np.ndarray]:
    """The first ``count`` lines of ``body`` as columns (count,) of these types.

    after: number of lines behind them that belong to something else.
    Raises DataError if there are fewer lines, or more points, or a value is not a number of its type.
    """
    if count and 2 * len(types) * count > len(body) + 1:  # a value needs a digit and a separator
        raise DataError(f"{path}: truncated, {len(body)} bytes of text are too few for {count} points; copy it again")
    lines = [line for line in body.splitlines() if line.strip()]
    surplus = len(lines) - count - after
    if surplus > 0 and len(lines[count].split()) == len(types):  # another line than a point's may be a remark
        check_count(count, count + surplus, path)
    if not count:
        return [np.zeros(0, type) for type in types]
    lines = lines[:count]
    try:
        table = np.loadtxt(lines, dtype=np.float64, comments=None, ndmin=2)  # (P, C)
    except (ValueError, OverflowError):
        table = None
    if table is None or table.shape != (count, len(types)):
        rows = [line.split() for line in lines]
        whole = next((n for n, words in enumerate(rows) if len(words) != len(types)), len(lines))
        if whole >= len(lines) - 1 and (len(lines) < count or len(rows[-1]) < len(types)):
            raise DataError(f"{path}: truncated, {whole} of {count} points are there; copy the file again")
        if whole < len(lines):
            raise DataError(
                f"{path}: point {whole + 1} has {len(rows[whole])} values, and its header names {len(types)}; fix it"
            )
        raise DataError(f"{path}: a value of its points is not a number; correct or convert it")
    return [_as_type(table[:, n], type, path) for n, type in enumerate(types)]


def _as_type(values: np.ndarray, type: np.dtype, path: Path) -> np.ndarray:
    if type.kind == "f":
        return values
    limits = np.iinfo(type)
    if not ((values >= limits.min) & (values <= limits.max)).all():  # False for NaN
        raise DataError(f"{path}: a value does not fit its type {type.name}; correct or convert it")
    return values.astype(type)
