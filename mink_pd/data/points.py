"""Reading of point clouds in any format, according to the sensor's settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mink_pd.config.points import NONE, PointsConfig
from mink_pd.data.formats import SUFFIXES, Columns, read_columns
from mink_pd.data.looks import check_extent
from mink_pd.errors import DataError

__all__ = ["SUFFIXES", "Cloud", "make_cloud", "read_cloud", "read_points", "with_columns"]

_INTENSITY = ("intensity", "intensities", "reflectance", "reflectivity", "scalar_intensity", "remission", "i")
_MOST_ABOVE = 0.01  # largest share of points brighter than the full scale; single retroreflectors may be
_DEFAULT = PointsConfig()


class Cloud(NamedTuple):
    """A point cloud."""

    points: np.ndarray  # (P, 4 or more) float32: x, y, z [m, LiDAR frame], intensity [0..1], columns on request
    dropped: int  # number of points left out: NaN, infinite, at the origin (no return) or on the own vehicle


def read_points(path: str | Path, settings: PointsConfig = _DEFAULT) -> np.ndarray:
    """The points of :func:`read_cloud`, float32 (P, 4)."""
    return read_cloud(path, settings).points


def read_cloud(path: str | Path, settings: PointsConfig = _DEFAULT) -> Cloud:
    """Read one point cloud, which may be empty, into the LiDAR frame (``settings.axes``). Points brighter than the full
    scale get the intensity 1.

    Raises DataError if the file is missing, truncated, of an unknown format, without a valid point, or does not look
    like a cloud with these settings.
    """
    return make_cloud(str(path), read_columns(Path(path), settings), settings)


def make_cloud(
    path: str, columns: Columns, settings: PointsConfig, more: Sequence[str] = (), may_lack_points: bool = False
) -> Cloud:
    """The point cloud from columns that were read elsewhere, as in :func:`read_cloud`.

    path: the beginning of each message.
    more: names of columns to append unchanged after the intensity.
    may_lack_points: whether none of the points need be valid, as of a turn in a drive; the cloud is then empty.
    """
    missing = [name for name in "xyz" if name not in columns]
    if missing:
        raise DataError(f"{path}: has no {', '.join(missing)} (it has {_listed(columns)}); convert it")
    if settings.returns is not None:
        columns = _chosen_returns(path, columns, settings.returns)
    table = _table(path, columns, settings)  # (4, P)
    table = np.vstack([table, *(columns[name].astype(np.float32) for name in more)]) if more else table
    with np.errstate(invalid="ignore"):
        valid = np.isfinite(table).all(axis=0) & (table[:3] != 0).any(axis=0)
    if settings.own_vehicle is not None:
        valid &= ~_inside(table[:3], settings.own_vehicle)
    dropped = table.shape[1] - np.count_nonzero(valid)
    if dropped:
        if dropped == len(valid) and not may_lack_points:
            raise DataError(
                f"{path}: none of its {dropped} points is valid: all are NaN, infinite, at the origin or in"
                " data.own_vehicle; record it again"
            )
        table = table[:, valid]
    check_extent(path, table[:3])
    _check_intensity(path, table[3], settings)
    np.minimum(table[3], 1, out=table[3])
    return Cloud(np.ascontiguousarray(table.T), dropped)


def _inside(xyz: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
    """Mask (P,) of the points (3, P) inside a box (lower x, y, z, upper x, y, z)."""
    low, high = np.array(box, np.float32).reshape(2, 3, 1)
    return ((xyz >= low) & (xyz <= high)).all(axis=0)


def with_columns(points: np.ndarray, columns: int) -> np.ndarray:
    """Points (P, 4 or more) as float32 (P, columns) for a detector with that number of columns. Missing columns, such
    as the time lag, are 0."""
    result = np.zeros((len(points), columns), np.float32)
    there = min(columns, points.shape[1])
    result[:, :there] = points[:, :there]
    return result


def _listed(columns: Columns) -> str:
    """Names of columns for a message; a damaged file may contain arbitrary names."""
    text = ", ".join(columns)[:100] or "nothing"
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _chosen_returns(path: str, columns: Columns, wanted: int) -> Columns:
    if "return" not in columns:
        raise DataError(
            f"{path}: has no column 'return' for data.returns={wanted}; name it in data.columns, or unset it"
        )
    kept = columns["return"] == wanted
    return {name: values[kept] for name, values in columns.items()}


def _table(path: str, columns: Columns, settings: PointsConfig) -> np.ndarray:
    """Coordinates in the LiDAR frame, and the intensity divided by its full scale: float32 (4, P)."""
    table, to_lidar = np.zeros((4, len(columns["x"])), np.float32), settings.to_lidar
    with np.errstate(over="ignore", invalid="ignore"):  # overflow gives infinity, and such points are dropped
        if to_lidar is None:
            for axis, name in enumerate("xyz"):
                table[axis] = columns[name]
        else:
            xyz = np.stack([columns[name].astype(np.float64) for name in "xyz"])
            table[:3] = to_lidar[:3, :3] @ xyz + to_lidar[:3, 3:]
        if settings.intensity != NONE:
            found = next((name for name in _INTENSITY if name in columns), None)
            if found is None:
                raise DataError(f"{path}: has no intensity (it has {_listed(columns)}); set data.intensity=none")
            table[3] = columns[found]
            table[3] /= _full_scale(path, columns[found], settings)
    return table


def _full_scale(path: str, values: np.ndarray, settings: PointsConfig) -> float:
    """The full scale of the intensities. Raises DataError if neither the settings nor their type determine it."""
    if isinstance(settings.intensity, float):
        return settings.intensity
    if values.dtype.kind == "f":
        return 1.0
    if values.dtype.itemsize == 1:
        return 255.0
    largest = int(values.max(initial=0))
    raise DataError(
        f"{path}: its intensity is of type {values.dtype.name} (up to {largest}), which does not tell the full scale;"
        f" set data.intensity={_likely_scale(largest)}, or the sensor's own"
    )


def _likely_scale(largest: float) -> int:
    return 1 if largest <= 1 else 255 if largest <= 255 else 65535


def _check_intensity(path: str, values: np.ndarray, settings: PointsConfig) -> None:
    """Raise DataError if many intensities (P,) are above 1, or any is below 0, as they then have another full scale."""
    said = f"data.intensity={settings.intensity:g}" if isinstance(settings.intensity, float) else "floats are 0..1"
    scale = settings.intensity if isinstance(settings.intensity, float) else 1.0
    present = values[values != 0]
    if np.count_nonzero(present > 1) > _MOST_ABOVE * len(present):
        largest = float(values.max()) * scale
        raise DataError(
            f"{path}: its intensities go up to {largest:g}, which is above their full scale ({said});"
            f" set data.intensity={_likely_scale(largest)}, or the sensor's own"
        )
    if (values < 0).any():
        raise DataError(
            f"{path}: has intensities below 0 ({values.min() * scale:g}); check data.columns, or set"
            " data.intensity=none"
        )
