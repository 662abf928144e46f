from pathlib import Path

import numpy as np
import pytest

from mink_pd.data.points import read_points
from mink_pd.errors import DataError

POINTS = np.array([[1, 2, 3, 0.5], [4, 5, 6, 0.25], [-7.5, 8, 9, 1.0]], np.float32)


def pcd(rows: np.ndarray, fields: str = "x y z intensity", kind: str = "F F F F", data: str = "ascii") -> bytes:
    count = len(fields.split())
    header = (
        f"VERSION 0.7\nFIELDS {fields}\nSIZE {' '.join('4' * count)}\nTYPE {kind}\n"
        f"COUNT {' '.join('1' * count)}\n"
        f"WIDTH {len(rows)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(rows)}\nDATA {data}\n"
    ).encode()
    if data == "binary":
        return header + rows.astype("<f4").tobytes()
    return header + "".join(" ".join(map(str, row)) + "\n" for row in rows.tolist()).encode()


def ply(rows: np.ndarray, intensity: str | None = "float", data: str = "ascii") -> bytes:
    header = f"ply\nformat {data} 1.0\nelement vertex {len(rows)}\n"
    header += "property float x\nproperty float y\nproperty float z\n"
    header += f"property {intensity} intensity\n" if intensity else ""
    header += "end_header\n"
    if data != "ascii":
        return header.encode() + rows.astype("<f4").tobytes()
    text = "".join(" ".join(f"{value:g}" for value in row) + "\n" for row in rows)
    return (header + text).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.bin", POINTS.tobytes()),
        ("a.pcd", pcd(POINTS)),
        ("b.pcd", pcd(POINTS, data="binary")),
        ("a.ply", ply(POINTS)),
        ("b.ply", ply(POINTS, data="binary_little_endian")),
        ("A.PLY", ply(POINTS)),
    ],
)
def test_every_format_gives_the_same_points(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    points = read_points(tmp_path / name)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, POINTS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.bin", b""),
        ("a.pcd", pcd(POINTS[:0])),
        ("a.ply", ply(POINTS[:0])),
    ],
)
def test_an_empty_cloud_has_no_rows(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_points(tmp_path / name).shape == (0, 4)


def test_a_missing_intensity_is_zero(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(ply(POINTS[:, :3], intensity=None))
    (tmp_path / "a.pcd").write_bytes(pcd(POINTS[:, :3], "x y z", "F F F"))
    for name in ("a.ply", "a.pcd"):
        points = read_points(tmp_path / name)
        np.testing.assert_array_equal(points[:, :3], POINTS[:, :3])
        assert (points[:, 3] == 0).all()


@pytest.mark.parametrize(("largest", "divisor"), [(1.0, 1), (1.5, 255), (255.0, 255), (256.0, 65535)])
def test_float_intensities_are_scaled_by_their_largest(tmp_path: Path, largest: float, divisor: int) -> None:
    points = POINTS.copy()
    points[:, 3] = [0, largest / 2, largest]
    points.tofile(tmp_path / "a.bin")
    np.testing.assert_allclose(read_points(tmp_path / "a.bin")[:, 3], points[:, 3] / divisor, rtol=1e-6)


def test_integer_intensities_are_scaled_by_their_type(tmp_path: Path) -> None:
    rows = POINTS.copy()
    rows[:, 3] = [0, 1, 51]  # by the largest value alone 0..1 and 0..255 could not be told apart
    (tmp_path / "a.ply").write_bytes(ply(rows, intensity="uchar"))
    np.testing.assert_allclose(read_points(tmp_path / "a.ply")[:, 3], [0, 1 / 255, 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.bin", POINTS.tobytes()[:-4]),
        ("a.pcd", pcd(POINTS)[:-4]),
        ("b.pcd", pcd(POINTS, data="binary")[:-4]),
        ("a.ply", ply(POINTS)[:-4]),
        ("b.ply", ply(POINTS, data="binary_little_endian")[:-4]),
    ],
)
def test_a_truncated_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: truncated.*copy the file again") as error:
        read_points(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 2, 3])
def test_invalid_values_are_counted_or_dropped(tmp_path: Path, value: float, column: int) -> None:
    points = POINTS.copy()
    points[1, column] = value
    points.tofile(tmp_path / "a.bin")
    (tmp_path / "a.pcd").write_bytes(pcd(points, data="binary"))
    for name in ("a.bin", "a.pcd"):
        with pytest.raises(DataError, match=rf"{name}: 1 of 3 points.*drop_invalid"):
            read_points(tmp_path / name)
        np.testing.assert_array_equal(read_points(tmp_path / name, drop_invalid=True), POINTS[[0, 2]])


@pytest.mark.parametrize("name", ["a.pcd", "a.ply"])
def test_a_file_of_another_kind_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"hello\x00\xff")
    with pytest.raises(DataError, match=f"{name}: has no valid"):
        read_points(tmp_path / name)


def test_a_wrong_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.bin: no such file"):
        read_points(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"a\.las: not a known kind of point cloud"):
        read_points(tmp_path / "a.las")
