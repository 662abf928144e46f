"""Reading point clouds: KITTI's .bin, and .pcd and .ply through Open3D."""

from pathlib import Path

import numpy as np

from mink_pd.errors import DataError

SUFFIXES = (".bin", ".pcd", ".ply")
_PLY_SIZES = {"char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "float": 4, "double": 8}
_PLY_SIZES |= {
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "float64": 8,
}
_INTENSITY = ("intensity", "intensities", "reflectance", "reflectivity", "scalar_intensity", "i")


def read_points(path: str | Path, *, drop_invalid: bool = False) -> np.ndarray:
    """Read one point cloud: float32 (P, 4), x, y, z [m] and intensity [0..1]; an empty cloud gives (0, 4).

    .bin holds float32 rows x, y, z, intensity. In .pcd and .ply the intensity may be missing (0 then) and go
    by one of several names. Intensities of an integer type are divided by the type's largest value; floats
    are taken to be 0..255 if the largest is above 1, and 0..65535 if it is above 255.
    drop_invalid: leave out points with a NaN or infinite value instead of refusing the file.

    Raises DataError: missing or unknown file, truncated, NaN or infinite values.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: not a known kind of point cloud; convert it to {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the path of a point cloud")
    points = _read_bin(path) if path.suffix.lower() == ".bin" else _read_open3d(path)
    valid = np.isfinite(points).all(axis=1)
    if not valid.all():
        if not drop_invalid:
            raise DataError(
                f"{path}: {np.count_nonzero(~valid)} of {len(points)} points have a NaN or infinite value;"
                " remove them from the file or read it with drop_invalid=True"
            )
        points = points[valid]
    points[:, 3] = _unit_intensity(points[:, 3])
    return points


def with_columns(points: np.ndarray, columns: int) -> np.ndarray:
    """Points (P, 4 or more) as float32 (P, columns) for a detector that sees so many; what a cloud has not, such as the
    time lag of earlier sweeps, is 0."""
    result = np.zeros((len(points), columns), np.float32)
    there = min(columns, points.shape[1])
    result[:, :there] = points[:, :there]
    return result


def _read_bin(path: Path) -> np.ndarray:
    try:
        size = path.stat().st_size
        values = np.fromfile(path, dtype="<f4")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    if size % 16:
        raise DataError(
            f"{path}: truncated, {size} bytes are not a whole number of points of 16 bytes (float32 x, y, z,"
            " intensity); copy the file again"
        )
    return values.reshape(-1, 4).astype(np.float32, copy=False)


def _read_open3d(path: Path) -> np.ndarray:
    import open3d as o3d  # takes a second to import, and .bin files do not need it

    if _check_size(path) == 0:
        return np.zeros((0, 4), np.float32)
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        try:
            cloud = o3d.t.io.read_point_cloud(path, remove_nan_points=False, remove_infinite_points=False)
        except RuntimeError:
            raise DataError(f"{path}: Open3D cannot read it; check or convert the file") from None
    if "positions" not in cloud.point or not len(cloud.point.positions):
        raise DataError(f"{path}: Open3D finds no points in it; check or convert the file")
    xyz = cloud.point.positions.numpy()
    points = np.zeros((len(xyz), 4), np.float32)
    points[:, :3] = xyz
    attributes = {name.lower(): name for name in cloud.point}
    name = next((attributes[name] for name in _INTENSITY if name in attributes), None)
    if name is not None:
        values = cloud.point[name].numpy().reshape(-1)
        scale = np.iinfo(values.dtype).max if np.issubdtype(values.dtype, np.integer) else 1
        points[:, 3] = values / scale
    return points


def _check_size(path: Path) -> int:
    """The number of points that the header of a .pcd or .ply file promises.

    Raises DataError when the file is too short to hold them (Open3D returns such files with made-up points)
    or has no such header.
    """
    lines: list[list[bytes]] = []
    with path.open("rb") as file:
        while line := file.readline():
            lines.append(line.split())
            if lines[-1][:1] in ([b"DATA"], [b"end_header"]):
                break
        body = file.read()
    try:
        count, sizes, ascii_text, exact = (_pcd if path.suffix.lower() == ".pcd" else _ply)(lines)
    except (KeyError, ValueError, IndexError):
        raise DataError(f"{path}: has no valid {path.suffix[1:].upper()} header; check or convert it") from None
    present = len(body.split()) // len(sizes) if ascii_text else len(body) // sum(sizes)
    if exact and present < count:
        raise DataError(f"{path}: truncated, {present} of {count} points are there; copy the file again")
    return count


def _pcd(lines: list[list[bytes]]) -> tuple[int, list[int], bool, bool]:
    """Points, bytes of each value of a point, whether text, whether the body's size follows from these."""
    header = {words[0]: words[1:] for words in lines if words}
    sizes = [int(size) for size in header[b"SIZE"]]
    counts = [int(count) for count in header.get(b"COUNT", [b"1"] * len(sizes))]
    values = [size for size, count in zip(sizes, counts, strict=True) for _ in range(count)]
    kind = header[b"DATA"][0]
    return int(header[b"POINTS"][0]), values, kind == b"ascii", kind != b"binary_compressed"


def _ply(lines: list[list[bytes]]) -> tuple[int, list[int], bool, bool]:
    """As :func:`_pcd`. A file whose points do not come first, or have lists, is left to Open3D."""
    kind = next(words[1] for words in [*lines, [b"format", b""]] if words[:1] == [b"format"])
    elements = [n for n, words in enumerate(lines) if words[:1] in ([b"element"], [b"end_header"])]
    first, end = elements[0], elements[1]
    vertex = next(words for words in [*lines, []] if words[:2] == [b"element", b"vertex"] or not words)
    properties = [words[1].decode() for words in lines[first + 1 : end] if words[:1] == [b"property"]]
    exact = lines[first] == vertex and "list" not in properties
    sizes = [_PLY_SIZES[name] for name in properties] if exact else [1]
    return int(vertex[2]), sizes, kind == b"ascii", exact


def _unit_intensity(values: np.ndarray) -> np.ndarray:
    largest = values.max(initial=0.0)
    if largest <= 1:
        return values
    return values / (255 if largest <= 255 else 65535)
