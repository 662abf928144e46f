"""Plausibility checks of point clouds, and guesses at the real content of files that fail them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mink_pd.config.points import PointsConfig
from mink_pd.errors import DataError

_FAR, _NOWHERE = 200.0, 1000.0  # few points are farther than the first distance, hardly any than the second [m]
_MOST_FAR, _MOST_NOWHERE = 0.5, 0.01  # largest shares of such points
_TINY, _HUGE = 1e-12, 1e6  # absolute values outside these bounds are not coordinates
_MOST_ODD = 0.01  # largest share of such values; rounded cosines give a few tiny ones
_FEWEST = 30  # smallest number of points for which shares and spreads are meaningful
_SAMPLE = 840 * 6  # number of values to check, a whole number of rows of any width from 3 to 8
_ROWS = 4096  # number of points to check, spread over the whole cloud
_WIDTHS = range(3, 9)
_TYPES = ("<f4", ">f4", "<f2", "<f8", ">f8", "<i2", "<i4")
_MARGIN = 0.3  # by which another width must fit better, in the mean logarithm of the spread
_MULTIPLE_MARGIN = 0.8  # the same for a multiple of the width, which fits slightly better by chance
_COLUMNS = ("x", "y", "z", "intensity", "ring", "time")


def check_extent(path: str, xyz: np.ndarray) -> None:
    """Raise DataError if the coordinates (3, P) cannot be a vehicle's surroundings in metres."""
    if xyz.shape[1] < _FEWEST:
        return
    xyz = xyz[:, :: max(1, xyz.shape[1] // _ROWS)]
    farthest = np.abs(xyz).max(axis=0)  # (S,)
    if _share_odd(xyz) > _MOST_ODD:
        raise DataError(
            f"{path}: {_share_odd(xyz):.0%} of its coordinates are below {_TINY:g} or above {_HUGE:g} m, which no LiDAR"
            " measures; check the type of its values (data.dtype)"
        )
    if np.mean(farthest > _NOWHERE) > _MOST_NOWHERE or np.mean(farthest > _FAR) > _MOST_FAR:
        low, high = np.median(farthest), farthest.max()
        raise DataError(
            f"{path}: {np.mean(farthest > _FAR):.0%} of its points are farther than {_FAR:g} m (half of them {low:.4g},"
            f" the farthest {high:.4g}): not metres from the sensor; convert millimetres or map coordinates first"
        )


def check_rows(content: bytes, path: Path, settings: PointsConfig, columns: Mapping[str, np.ndarray]) -> None:
    """Raise DataError if a file without a header seems to have other columns or another type than ``settings``."""
    if len(next(iter(columns.values()))) < _FEWEST:
        return
    with np.errstate(invalid="ignore"):  # other data may be signalling NaN
        xyz = np.stack([columns[name][:_ROWS].astype(np.float64) for name in "xyz"])  # (3, S)
    said = f"{len(settings.columns)} columns of {settings.dtype}"
    if _share_odd(xyz) > _MOST_ODD:
        guess = likely(content)
        hint = f"looks like {guess}" if guess else "set data.columns and data.dtype to its real content"
        raise DataError(f"{path}: does not have {said}, for its coordinates would not be in metres; {hint}")
    types = {settings.dtype} if isinstance(settings.dtype, str) else set(settings.dtype)
    if len(types) == 1:
        type = np.dtype(types.pop())
        width = _better_width(content, type, len(settings.columns))
        if width is not None:
            raise DataError(f"{path}: does not look like {said}; looks like {_describe(width, type)}")


def likely(content: bytes) -> str | None:
    """The probable content of a file without a header, with the settings for it; None if nothing fits."""
    for name in _TYPES:
        type = np.dtype(name)
        fits = {}
        for width, spread in _spreads(content, type):
            whole = len(content) % (width * type.itemsize) == 0
            if whole and _plausible(_rows(content, type, width)):
                fits[width] = spread
        if fits:
            return _describe(_narrowest(fits), type)
    return None


def _narrowest(spreads: Mapping[int, float]) -> int:
    """The smallest number of columns that fits as well as the best; multiples of it always fit."""
    least = min(spreads.values())
    return min(width for width, spread in spreads.items() if spread <= least + _MARGIN)


def _describe(width: int, type: np.dtype) -> str:
    names = [_COLUMNS[n] if n < len(_COLUMNS) else f"extra{n}" for n in range(width)]
    name = type.name if type.isnative else type.str
    also = "" if name == "float32" else f" data.dtype={name}"
    return f"{width} {name} columns; set data.columns=[{','.join(names)}]{also}"


def _better_width(content: bytes, type: np.dtype, width: int) -> int | None:
    """The number of columns that fits clearly better than ``width``; None if there is none."""
    spreads = dict(_spreads(content, type))
    if width not in spreads:
        return None
    whole = {n: spread for n, spread in spreads.items() if len(content) % (n * type.itemsize) == 0}
    best = _narrowest(whole)
    margin = _MARGIN if best % width else _MULTIPLE_MARGIN
    return best if spreads[best] < spreads[width] - margin else None


def _spreads(content: bytes, type: np.dtype) -> Iterator[tuple[int, float]]:
    """For each number of columns the mean logarithm of the columns' spreads, from the first to the last decile.

    With the right number each column is one quantity. With a wrong number each column mixes several quantities, and
    small spreads (intensity, height) disappear among large ones.
    """
    for width in _WIDTHS:
        rows = _rows(content, type, width)
        if len(rows) >= _FEWEST:
            columns = np.sort(rows[np.isfinite(rows).all(axis=1)].T)  # (width, S)
            count = columns.shape[1]
            spread = columns[:, count - 1 - count // 10] - columns[:, count // 10] if count else np.full(width, np.inf)
            yield width, float(np.log(np.clip(spread, 1e-3, 1e6)).mean())


def _rows(content: bytes, type: np.dtype, width: int) -> np.ndarray:
    """The first values as float64 (S, width)."""
    count = min(len(content) // type.itemsize, _SAMPLE)
    with np.errstate(invalid="ignore"):
        return np.frombuffer(content, type, count - count % width).reshape(-1, width).astype(np.float64)


def _plausible(rows: np.ndarray) -> bool:
    """Whether the first three columns can be coordinates in metres, none of them constant."""
    xyz = rows[np.isfinite(rows[:, :3]).all(axis=1), :3]
    if len(xyz) < _FEWEST or len(xyz) < len(rows) // 10 or _share_odd(xyz) > _MOST_ODD:
        return False
    far = np.abs(xyz).max(axis=1)
    return bool((xyz.std(axis=0) > 1e-3).all() and np.mean(far > _NOWHERE) <= _MOST_NOWHERE)


def _share_odd(values: np.ndarray) -> float:
    """The share of finite values that are not possible coordinates."""
    size = np.abs(values[np.isfinite(values)])
    return float(np.mean(((size < _TINY) & (size > 0)) | (size > _HUGE))) if len(size) else 0.0
