"""NumPy's .npy and .npz files: a table of points, a structured array, or one array per column; no pickles.

In a .npz, columns that a table ``xyz`` lacks may be arrays of their own, such as ``intensity``. Arrays without a value
per point, such as a time of the whole cloud, are left out.
"""

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from mink_pd.config.points import PointsConfig
from mink_pd.errors import DataError
from mink_pd.files import reading

_LARGEST = 1 << 28  # largest unpacked array [bytes]; a small archive can contain a large one
_TABLES = ("points", "arr_0", "data", "cloud", "xyz")  # possible names of the table in a .npz


def read(content: bytes, path: Path, settings: PointsConfig) -> dict[str, np.ndarray]:
    """Columns by the names in the file, else by ``settings.columns``. Raises DataError that names the file."""
    with reading(path, remedy="write it again"):
        if path.suffix.lower() == ".npy":
            return _columns(_array(content), path, settings)
        return _archive(content, path, settings)


def _array(content: bytes) -> np.ndarray:
    """The array of a .npy file's content, checked before it is created. Raises ValueError."""
    file = io.BytesIO(content)
    major, _ = npy.read_magic(file)
    header: Any = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
    shape, fortran, dtype = header(file)
    if dtype.hasobject:
        raise ValueError("it contains pickled Python objects, which are not read")
    left = len(content) - file.tell()
    size = math.prod(shape) * dtype.itemsize
    if dtype.itemsize == 0 or size > left:
        raise ValueError(f"truncated, {left} bytes are too few for an array of shape {shape}")
    if left - size >= math.prod(shape[1:]) * dtype.itemsize > 0:
        raise ValueError(f"{left} bytes are more than an array of shape {shape}; its header and its data do not fit")
    flat = np.frombuffer(content, dtype, math.prod(shape), file.tell())
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _archive(content: bytes, path: Path, settings: PointsConfig) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > _LARGEST:
            raise ValueError(f"its arrays have more than {_LARGEST} bytes")
        for member in members:
            if member.filename.endswith(".npy"):
                with archive.open(member) as file:
                    unpacked = file.read(member.file_size + 1)
                if len(unpacked) != member.file_size:
                    raise ValueError(f"{member.filename} has another size than the archive states")
                arrays[member.filename.removesuffix(".npy").lower()] = _array(unpacked)
    if all(name in arrays for name in "xyz"):
        if len({arrays[name].shape for name in "xyz"}) != 1 or arrays["x"].ndim != 1:
            raise ValueError("x, y and z are not columns of one length")
        return _of_points(arrays, len(arrays["x"]), settings)
    tables = [name for name in arrays if arrays[name].ndim == 2 or arrays[name].dtype.names]
    name = next((name for name in _TABLES if name in tables), tables[0] if len(tables) == 1 else None)
    if name is None:
        found = ", ".join(arrays) or "no array"
        raise ValueError(f"it contains {found}; name the table of points 'points', or write arrays x, y, z, intensity")
    if name == "xyz" and arrays[name].shape[1:] == (3,):
        beside = _of_points(arrays, len(arrays[name]), settings)
        if beside:
            return dict(zip("xyz", arrays[name].T, strict=True)) | beside
    try:
        return _columns(arrays[name], path, settings)
    except DataError as error:
        raise DataError(f"{error}, or write arrays x, y, z, intensity (it contains {', '.join(arrays)})") from None


def _of_points(arrays: dict[str, np.ndarray], count: int, settings: PointsConfig) -> dict[str, np.ndarray]:
    """The columns among the arrays: those of numbers (count,) or (count, 1).

    Raises ValueError if one that ``settings.columns`` names has another length.
    """
    numeric = {name: array for name, array in arrays.items() if array.ndim and array.dtype.kind in "fiu"}
    single = {name: array.reshape(-1) for name, array in numeric.items() if array.shape[1:] in ((), (1,))}
    for name in settings.columns:
        if name in single and len(single[name]) != count:
            raise ValueError(f"array {name} has {len(single[name])} values for {count} points")
    return {name: array for name, array in single.items() if len(array) == count}


def _columns(array: np.ndarray, path: Path, settings: PointsConfig) -> dict[str, np.ndarray]:
    if array.dtype.names:
        columns = {name.lower(): array[name].reshape(len(array), -1) for name in array.dtype.names}
        return {name: c[:, 0] for name, c in columns.items() if c.shape[1] == 1 and c.dtype.kind in "fiu"}
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise ValueError(f"an array of shape {array.shape} and type {array.dtype} is not a table of points")
    if array.shape[1] != len(settings.columns):
        raise DataError(
            f"{path}: has {array.shape[1]} columns, but data.columns names {len(settings.columns)}"
            f" ({', '.join(settings.columns)}); set data.columns to the names of its columns"
        )
    return {name: array[:, n] for n, name in enumerate(settings.columns) if name != "_"}
