"""Plausibility checks of point clouds, and guesses at the real content of files that fail them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mink_pd.config.points import PointsConfig
from mink_pd.errors import DataError

_FAR, _NOWHERE = 200.0, 1000.0  # few points are farther than the first distance, hardly any than the second [m]
_MOST_FAR, _MOST_NOWHERE = 0.5, 0.01  # largest shares of such points
_TINY, _HUGE = 1e-12, 1e6  # absolute values outside these bounds are not coordinates around a vehicle
_OFF_MAPS = 1e8  # nor are values above this one coordinates on a map [m]
_MOST_SPLIT = 0.05  # largest share of points of which only some coordinates are NaN or infinite
_MOST_ODD = 0.01  # largest share of such values
_FEWEST = 30  # smallest number of points for which shares and spreads are meaningful
_SAMPLE = 5040  # about how many values to check
_SEARCHED = 1 << 20  # number of values among which points with finite coordinates are sought
_ROWS = 4096  # number of points to check, spread over the whole cloud
_WIDTHS = range(3, 33)
_TYPES = ("<f4", ">f4", "<f2", "<f8", ">f8", "<i2", "<i4")
_MARGIN = 0.3  # by which another width must fit better, in the mean logarithm of the spread
_OTHER_SPREADS = 0.8  # smallest range of the logarithms of the spreads of columns with several quantities
_FEWEST_SIDED = 0.1  # smallest share of points on either side that tells
_SAME_SIDE = 0.8  # smallest share of neighbouring points that lie on the same side of the sensor
_AT_RANDOM = np.random.default_rng(0).random(_SAMPLE)  # places in a cloud
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
        if _column_by_column(content, type, len(settings.columns)):
            raise DataError(
                f"{path}: does not look like {said}, but like all values of the first column, then all of the second,"
                " and so on; write it point by point"
            )


def likely(content: bytes) -> str | None:
    """The probable content of a file without a header, with the settings for it; None if nothing fits."""
    for name in _TYPES:
        type = np.dtype(name)
        fits = {}
        for width, spread in _spreads(content, type).items():
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
    spreads = _spreads(_measured(content, type, columns), type)
    if width not in spreads:
        return None
    whole = {n: spread for n, spread in spreads.items() if len(content) % (n * type.itemsize) == 0}
    best = _narrowest(whole)
    return best if spreads[best] < spreads[width] - _MARGIN else None


def _measured(content: bytes, type: np.dtype, columns: Sequence[str]) -> bytes:
    """The content without points that have no finite coordinate, unless the columns split such points."""
    count = min(len(content) // type.itemsize, _SEARCHED)
    rows = np.frombuffer(content, type, count - count % len(columns)).reshape(-1, len(columns))
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(rows[:, [columns.index(name) for name in "xyz"]])
    as_it_is = finite.all() or _share_split(finite) > _MOST_SPLIT
    return content if as_it_is else rows[finite.all(axis=1)].tobytes()


def _share_split(finite: np.ndarray) -> float:
    """The share of points (P, 3) of which some coordinates, but not all, are finite."""
    return float(np.mean(finite.any(axis=1) & ~finite.all(axis=1))) if len(finite) else 0.0


def _column_by_column(content: bytes, type: np.dtype, width: int) -> bool:
    """Whether the content is ``width`` columns one after another: read as rows, all columns hold the same mixture."""
    values = np.frombuffer(content, type)
    if len(values) % width or len(values) < _FEWEST * width:
        return False
    columns = _log_spreads(_sample(values.reshape(width, -1).T, _SAMPLE // width).T)  # (width,)
    rows = _log_spreads(_rows(content, type, width).T)  # (width,)
    return bool(np.ptp(rows) < _MARGIN and np.ptp(columns) > _OTHER_SPREADS and columns.mean() < rows.mean())


def _spreads(content: bytes, type: np.dtype) -> dict[int, float]:
    """For each number of columns the mean logarithm of the columns' spreads, without repetitions of fewer columns.

    With the right number each column is one quantity. With a wrong number each column mixes several quantities, and
    small spreads (intensity, height) disappear among large ones.
    """
    spreads: dict[int, float] = {}
    for width in _WIDTHS:
        rows = _rows(content, type, width)
        if len(rows) >= _FEWEST and not any(width % fewer == 0 and _repeats(rows, fewer) for fewer in spreads):
            spreads[width] = float(_log_spreads(rows.T).mean())
    return spreads


def _repeats(rows: np.ndarray, fewer: int) -> bool:
    """Whether rows (S, W) are several points of ``fewer`` columns each: neighbours lie on the same side of the sensor.

    Where beams alternate, each of these points is of another beam, so that some of the W columns (ring, height) have
    less spread than in a cloud of all beams.
    """
    points = np.sign(rows.reshape(len(rows), -1, fewer))  # (S, points, fewer)
    both = np.minimum((points[:, 0] > 0).mean(axis=0), (points[:, 0] < 0).mean(axis=0))
    side = points[:, :, both.argmax()]  # (S, points), of the column that has most values on both sides
    return bool(both.max() > _FEWEST_SIDED and np.mean(side[:, 1:] == side[:, :1]) > _SAME_SIDE)


def _log_spreads(columns: np.ndarray) -> np.ndarray:
    """The logarithm of the spread of each column (W, S), from the first to the last decile: (W,).

    NaN and infinity are left out one by one, because a wrong number of columns that leaves out whole rows looks right
    where points without a return follow a regular pattern.
    """
    if np.isfinite(columns).all():
        return np.log(np.clip(_deciles_apart(columns), 1e-3, 1e6))
    finite = [column[np.isfinite(column)] for column in columns]
    return np.log(np.clip([_deciles_apart(column) if len(column) else np.inf for column in finite], 1e-3, 1e6))


def _deciles_apart(values: np.ndarray) -> np.ndarray:
    """The distance between the first and the last decile along the last axis."""
    tenth = values.shape[-1] // 10
    ordered = np.partition(values, (tenth, -1 - tenth), axis=-1)
    return ordered[..., -1 - tenth] - ordered[..., tenth]


def _rows(content: bytes, type: np.dtype, width: int) -> np.ndarray:
    """Rows of ``width`` values from the whole content, as float64 (S, width)."""
    count = len(content) // type.itemsize
    return _sample(np.frombuffer(content, type, count - count % width).reshape(-1, width), _SAMPLE // width)


def _sample(rows: np.ndarray, most: int) -> np.ndarray:
    """Up to ``most`` of the rows as float64, chosen at random: a regular step may meet one beam or one column only."""
    if len(rows) > most:
        rows = rows[(_AT_RANDOM[:most] * len(rows)).astype(np.int64)]
    with np.errstate(invalid="ignore"):
        return rows.astype(np.float64)


def _plausible(rows: np.ndarray) -> bool:
    """Whether the first three columns can be coordinates in metres, none of them constant."""
    finite = np.isfinite(rows[:, :3])
    xyz = rows[finite.all(axis=1), :3]
    if len(xyz) < max(_FEWEST, len(rows) // 10) or _share_odd(xyz.T) > _MOST_ODD or _share_split(finite) > _MOST_SPLIT:
        return False
    far = np.abs(xyz).max(axis=1)
    return bool((xyz.std(axis=0) > 1e-3).all() and np.mean(far > _NOWHERE) <= _MOST_NOWHERE)


def _share_odd(xyz: np.ndarray, most: float = _HUGE) -> float:
    """The share of finite coordinates (3, S) above ``most`` metres, or of points whose coordinates are all tiny; the
    larger one. A single tiny coordinate is a rounded zero, such as the height of a level beam."""
    with np.errstate(invalid="ignore"):
        size = np.abs(xyz)
    finite = size[np.isfinite(size)]
    if not len(finite):
        return 0.0
    tiny = (size < _TINY).all(axis=0) & (size > 0).any(axis=0)
    return max(float(np.mean(finite > most)), float(np.mean(tiny)))
