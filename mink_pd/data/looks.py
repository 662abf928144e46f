"""Plausibility checks of point clouds, and guesses at the real content of files that fail them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mink_pd.config.points import PointsConfig
from mink_pd.errors import DataError

_FAR, _NOWHERE = 200.0, 1000.0  # few points are farther than the first distance, hardly any than the second [m]
_MOST_FAR, _MOST_NOWHERE = 0.5, 0.01  # largest shares of such points
_TINY, _HUGE = 1e-12, 1e6  # absolute values outside these bounds are not coordinates around a vehicle
_OFF_MAPS = 1e8  # nor are values above this one coordinates on a map [m]
_MOST_SPLIT = 0.05  # largest share of points of which only some coordinates are NaN or infinite
_MOST_ODD = 0.01  # largest share of such values; rounded cosines give a few tiny ones
_FEWEST = 30  # smallest number of points for which shares and spreads are meaningful
_SAMPLE = 840 * 6  # number of values to check, a whole number of rows of any width from 3 to 8
_SEARCHED = 1 << 20  # number of values among which points with finite coordinates are sought
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
    odd = _share_odd(xyz, _OFF_MAPS)
    if odd > _MOST_ODD:
        raise DataError(
            f"{path}: {odd:.0%} of its coordinates are below {_TINY:g} or above {_OFF_MAPS:g} m, which no LiDAR"
            " measures; check the type of its values (of .bin files: data.dtype)"
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
        width = _better_width(content, type, settings.columns)
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


def _better_width(content: bytes, type: np.dtype, columns: Sequence[str]) -> int | None:
    """The number of columns that fits clearly better than those given; None if there is none."""
    width = len(columns)
    spreads = dict(_spreads(_measured(content, type, columns), type))
    if width not in spreads:
        return None
    whole = {n: spread for n, spread in spreads.items() if len(content) % (n * type.itemsize) == 0}
    best = _narrowest(whole)
    margin = _MARGIN if best % width else _MULTIPLE_MARGIN
    return best if spreads[best] < spreads[width] - margin else None


def _measured(content: bytes, type: np.dtype, columns: Sequence[str]) -> bytes:
    """The content without points that have no finite coordinate, unless the columns split such points."""
    count = min(len(content) // type.itemsize, _SEARCHED)
    rows = np.frombuffer(content, type, count - count % len(columns)).reshape(-1, len(columns))
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(rows[:, [columns.index(name) for name in "xyz"]])
    return content if _share_split(finite) > _MOST_SPLIT else rows[finite.all(axis=1)].tobytes()


def _share_split(finite: np.ndarray) -> float:
    """The share of points (P, 3) of which some coordinates, but not all, are finite."""
    return float(np.mean(finite.any(axis=1) & ~finite.all(axis=1))) if len(finite) else 0.0


def _spreads(content: bytes, type: np.dtype) -> Iterator[tuple[int, float]]:
    """For each number of columns the mean logarithm of the columns' spreads, from the first to the last decile.

    With the right number each column is one quantity. With a wrong number each column mixes several quantities, and
    small spreads (intensity, height) disappear among large ones. NaN and infinity are left out one by one, because a
    wrong number that leaves out whole rows looks right where points without a return follow a regular pattern.
    """
    for width in _WIDTHS:
        rows = _rows(content, type, width)
        if len(rows) >= _FEWEST:
            columns = [np.sort(column[np.isfinite(column)]) for column in rows.T]
            spread = [c[len(c) - 1 - len(c) // 10] - c[len(c) // 10] for c in columns if len(c)] or [np.inf]
            yield width, float(np.log(np.clip(spread, 1e-3, 1e6)).mean())


def _rows(content: bytes, type: np.dtype, width: int) -> np.ndarray:
    """The first values as float64 (S, width)."""
    count = min(len(content) // type.itemsize, _SAMPLE)
    with np.errstate(invalid="ignore"):
        return np.frombuffer(content, type, count - count % width).reshape(-1, width).astype(np.float64)


def _plausible(rows: np.ndarray) -> bool:
    """Whether the first three columns can be coordinates in metres, none of them constant."""
    finite = np.isfinite(rows[:, :3])
    xyz = rows[finite.all(axis=1), :3]
    if len(xyz) < max(_FEWEST, len(rows) // 10) or _share_odd(xyz) > _MOST_ODD or _share_split(finite) > _MOST_SPLIT:
        return False
    far = np.abs(xyz).max(axis=1)
    return bool((xyz.std(axis=0) > 1e-3).all() and np.mean(far > _NOWHERE) <= _MOST_NOWHERE)


def _share_odd(values: np.ndarray, most: float = _HUGE) -> float:
    """The share of finite values that are not possible coordinates, of up to ``most`` metres."""
    size = np.abs(values[np.isfinite(values)])
    return float(np.mean(((size < _TINY) & (size > 0)) | (size > most))) if len(size) else 0.0
