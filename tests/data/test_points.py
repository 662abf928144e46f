"""Points of every format: what each reader yields, and what the settings make of it."""

import os
from pathlib import Path

import laspy
import numpy as np
import pytest

from mink_pd.config.points import PointsConfig
from mink_pd.data.points import read_cloud, read_points
from mink_pd.errors import DataError

POINTS = np.array([[1, 2, 3, 0.5], [4, 5, 6, 0.25], [-7.5, 8, 9, 1.0]], np.float32)
PCD_TYPES = {"F": "f", "U": "u", "I": "i"}


def pcd(columns: list[tuple[str, str, int, np.ndarray]], data: str = "binary", **header: object) -> bytes:
    """A PCD file of columns (name, type, size, values (P,) or (P, count)); ``header`` replaces entries."""
    arrays = [np.asarray(values, f"<{PCD_TYPES[kind]}{size}") for _, kind, size, values in columns]
    arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
    entries: dict[str, object] = {
        "VERSION": "0.7",
        "FIELDS": " ".join(name for name, *_ in columns),
        "SIZE": " ".join(str(size) for _, _, size, _ in columns),
        "TYPE": " ".join(kind for _, kind, _, _ in columns),
        "COUNT": " ".join(str(array.shape[1]) for array in arrays),
        "WIDTH": len(arrays[0]),
        "HEIGHT": 1,
        "VIEWPOINT": "0 0 0 1 0 0 0",
        "POINTS": len(arrays[0]),
        "DATA": data,
    }
    lines = "".join(f"{key} {value}\n" for key, value in (entries | header).items())
    if data == "ascii":
        rows = [" ".join(repr(v) for array in arrays for v in array[n].tolist()) for n in range(len(arrays[0]))]
        return (lines + "".join(f"{row}\n" for row in rows)).encode()
    return lines.encode() + b"".join(array[n].tobytes() for n in range(len(arrays[0])) for array in arrays)


def plain(points: np.ndarray, data: str = "binary", **header: object) -> bytes:
    names = ("x", "y", "z", "intensity")
    return pcd([(name, "F", 4, points[:, n]) for n, name in enumerate(names)], data, **header)


def ply(columns: list[tuple[str, str, str, np.ndarray]], data: str = "binary_little_endian") -> bytes:
    """A PLY file of columns (name, PLY's type, NumPy's type, values (P,))."""
    count = len(columns[0][3])
    properties = "".join(f"property {kind} {name}\n" for name, kind, *_ in columns)
    header = f"ply\nformat {data} 1.0\ncomment made\nelement vertex {count}\n{properties}end_header\n".encode()
    if data == "ascii":
        rows = zip(*(values.tolist() for *_, values in columns), strict=True)
        return header + "".join(" ".join(map(repr, row)) + "\n" for row in rows).encode()
    order = "<" if data == "binary_little_endian" else ">"
    table = np.zeros(count, [(name, order + kind) for name, _, kind, _ in columns])
    for name, *_, values in columns:
        table[name] = values
    return header + table.tobytes()


def plain_ply(points: np.ndarray, data: str = "binary_little_endian") -> bytes:
    return ply([(name, "float", "f4", points[:, n]) for n, name in enumerate(("x", "y", "z", "intensity"))], data)


def npy(path: Path, array: np.ndarray) -> bytes:
    np.save(path.with_suffix(".npy"), array)
    return path.with_suffix(".npy").read_bytes()


def surroundings(count: int = 2000) -> np.ndarray:
    """Points as a LiDAR sees them, float32 (P, 4)."""
    rng = np.random.default_rng(0)
    return rng.uniform([0, -20, -2, 0], [50, 20, 1, 1], (count, 4)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.bin", POINTS.tobytes()),
        ("a.pcd", plain(POINTS, "ascii")),
        ("b.pcd", plain(POINTS)),
        (
            "c.pcd",
            plain(POINTS).replace(b"\nCOUNT 1 1 1 1", b"").replace(b"\nHEIGHT", b"\n# c\nHEIGHT"),
        ),
        ("a.ply", plain_ply(POINTS, "ascii")),
        ("b.ply", plain_ply(POINTS)),
        ("c.ply", plain_ply(POINTS, "binary_big_endian")),
        ("A.PLY", plain_ply(POINTS, "ascii").replace(b"\n", b"\r\n")),
    ],
)
def test_every_format_gives_the_same_points(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    points = read_points(tmp_path / name)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, POINTS)


@pytest.mark.parametrize("content", [b"", POINTS[:0].tobytes()])
def test_an_empty_bin_has_no_rows(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    assert read_points(tmp_path / "a.bin").shape == (0, 4)


@pytest.mark.parametrize("data", ["ascii", "binary", "binary_compressed"])
def test_an_empty_pcd_has_no_rows(tmp_path: Path, data: str) -> None:
    (tmp_path / "a.pcd").write_bytes(plain(POINTS[:0], data))
    assert read_points(tmp_path / "a.pcd").shape == (0, 4)


@pytest.mark.parametrize("data", ["ascii", "binary_little_endian"])
def test_an_empty_ply_has_no_rows(tmp_path: Path, data: str) -> None:
    (tmp_path / "a.ply").write_bytes(plain_ply(POINTS[:0], data))
    assert read_points(tmp_path / "a.ply").shape == (0, 4)


@pytest.mark.parametrize("data", ["ascii", "binary"])
def test_pcd_fields_of_any_order_type_and_padding(tmp_path: Path, data: str) -> None:
    """As PCL writes PointXYZI with padding, and a driver with doubles, a ring and a normal of three values."""
    count = len(POINTS)
    columns = [
        ("_", "U", 1, np.full((count, 4), 7)),
        ("normal", "F", 4, np.full((count, 3), 9.0)),
        ("z", "F", 8, POINTS[:, 2]),
        ("ring", "U", 2, np.arange(count)),
        ("x", "F", 8, POINTS[:, 0]),
        ("Intensity", "F", 4, POINTS[:, 3]),
        ("y", "F", 4, POINTS[:, 1]),
        ("_", "U", 1, np.zeros((count, 12))),
    ]
    (tmp_path / "a.pcd").write_bytes(pcd(columns, data))
    np.testing.assert_array_equal(read_points(tmp_path / "a.pcd"), POINTS)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("suffix", [".pcd", ".ply"])
def test_files_that_open3d_writes(tmp_path: Path, suffix: str, text: bool, compressed: bool) -> None:
    import open3d as o3d

    rng = np.random.default_rng(3)
    points = rng.uniform(-50, 50, (3000, 4)).astype(np.float32).round(2)
    points[:, 3] = rng.integers(0, 9, 3000) / 8
    points[1000:2000] = points[0]  # compresses well, so that long and overlapping copies come
    cloud = o3d.t.geometry.PointCloud(o3d.core.Tensor(points[:, :3].copy()))
    cloud.point.intensity = o3d.core.Tensor(points[:, 3:].copy())
    path = tmp_path / f"a{suffix}"
    assert o3d.t.io.write_point_cloud(str(path), cloud, write_ascii=text, compressed=compressed)
    np.testing.assert_allclose(read_points(path), points, atol=1e-5)


def test_ply_with_elements_around_the_vertices(tmp_path: Path) -> None:
    body = plain_ply(POINTS, "ascii").replace(b"element vertex", b"element camera 2\nproperty float f\nelement vertex")
    body = body.replace(
        b"end_header\n", b"element face 1\nproperty list uchar int vertex_index\nend_header\n1.5\n2.5\n"
    )
    (tmp_path / "a.ply").write_bytes(body + b"3 0 1 2\n")
    np.testing.assert_array_equal(read_points(tmp_path / "a.ply"), POINTS)
    (tmp_path / "b.ply").write_bytes(
        plain_ply(POINTS).replace(b"property float x", b"property list uchar int i\nproperty float x")
    )
    with pytest.raises(DataError, match=r"b\.ply: has list properties in or before its vertices"):
        read_points(tmp_path / "b.ply")


def test_numpy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "table.npy", POINTS)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(POINTS.astype(">f8")))
    np.savez(tmp_path / "table.npz", points=POINTS)
    np.savez_compressed(tmp_path / "columns.npz", **dict(zip(["z", "x", "y", "intensity"], POINTS.T[[2, 0, 1, 3]])))  # noqa: B905
    rows = np.zeros(3, [("y", "f8"), ("x", "f4"), ("n", "f4", 3), ("z", "f4"), ("intensity", "u1")])
    rows["x"], rows["y"], rows["z"], rows["intensity"] = *POINTS[:, :3].T, POINTS[:, 3] * 255
    np.save(tmp_path / "structured.npy", rows)
    for name in ("table.npy", "fortran.npy", "table.npz", "columns.npz"):
        np.testing.assert_array_equal(read_points(tmp_path / name), POINTS, err_msg=name)
    np.testing.assert_allclose(read_points(tmp_path / "structured.npy"), POINTS, atol=1 / 255)
    np.save(tmp_path / "five.npy", np.zeros((3, 5), np.float32))
    with pytest.raises(DataError, match=r"five\.npy: has 5 columns, but data\.columns names 4"):
        read_points(tmp_path / "five.npy")


def test_pickles_are_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="pickled"):
        read_points(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_las_files(tmp_path: Path, suffix: str) -> None:
    header = laspy.LasHeader(point_format=3, version="1.2")
    header.offsets, header.scales = np.array([5.0, 0, 0]), np.array([0.001] * 3)
    cloud = laspy.LasData(header)
    points = surroundings()
    cloud.x, cloud.y, cloud.z = points[:, :3].T.astype(np.float64)
    cloud.intensity = np.round(points[:, 3] * 4095).astype(np.uint16)
    cloud.return_number = np.arange(len(points)) % 2 + 1
    cloud.write(tmp_path / f"a{suffix}")
    with pytest.raises(DataError, match=r"intensity is of type uint16.* set data\.intensity=65535"):
        read_points(tmp_path / f"a{suffix}")
    read = read_points(tmp_path / f"a{suffix}", PointsConfig(intensity=4095))
    np.testing.assert_allclose(read, points, atol=6e-4)
    first = read_points(tmp_path / f"a{suffix}", PointsConfig(intensity=4095, returns=1))
    np.testing.assert_array_equal(first, read[::2])


def test_columns_and_types_of_a_bin_are_settings(tmp_path: Path) -> None:
    points = surroundings()
    for dtype in ("float32", "float64", ">f4", ">f8"):
        np.column_stack([np.arange(2000), points[:, ::-1], points[:, 0]]).astype(dtype).tofile(tmp_path / "a.bin")
        settings = PointsConfig(columns=["ring", "intensity", "z", "y", "x", "_"], dtype=dtype)
        np.testing.assert_array_equal(read_points(tmp_path / "a.bin", settings), points)
    rows = np.zeros(2000, [("xyz", "<f4", 3), ("i", "u1"), ("ring", "<u2")])
    rows["xyz"], rows["i"] = points[:, :3], np.round(points[:, 3] * 255)
    rows.tofile(tmp_path / "mixed.bin")
    mixed = PointsConfig(
        columns=["x", "y", "z", "intensity", "ring"], dtype=["float32", "float32", "float32", "uint8", "uint16"]
    )
    np.testing.assert_allclose(read_points(tmp_path / "mixed.bin", mixed), points, atol=0.002)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", ">f4"])
@pytest.mark.parametrize("width", [3, 4, 5, 6])
@pytest.mark.parametrize("count", [2000, 4000, 1999])
def test_other_columns_and_types_are_named(tmp_path: Path, width: int, dtype: str, count: int) -> None:
    """With counts of which the bytes are, and are not, a whole number of points of four float32."""
    points = surroundings(count)
    table = np.column_stack([points, np.arange(count) % 32, np.linspace(0, 0.1, count)])[:, :width].astype(dtype)
    table.tofile(tmp_path / "a.bin")
    if (width, dtype) == (4, "float32"):
        assert read_points(tmp_path / "a.bin").shape == points.shape
        return
    names = ",".join(["x", "y", "z", "intensity", "ring", "time"][:width])
    with pytest.raises(
        DataError, match=rf"a\.bin: .*looks like {width} {dtype} columns; set data\.columns=\[{names}\]"
    ) as e:
        read_points(tmp_path / "a.bin")
    assert "\n" not in str(e.value)
    assert ("data.dtype" in str(e.value).split("looks like")[1]) == (dtype != "float32")


@pytest.mark.parametrize("dtype", ["<i2", "<i4", "<u2"])
def test_integers_are_not_taken_for_metres(tmp_path: Path, dtype: str) -> None:
    (surroundings() * 100).clip(0).astype(dtype).tofile(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"a\.bin: "):
        read_points(tmp_path / "a.bin")


@pytest.mark.parametrize(("factor", "shift"), [(1000, 0), (1, 500_000), (10_000_000, 0), (1e-14, 0)])
def test_millimetres_and_map_coordinates_are_refused(tmp_path: Path, factor: float, shift: float) -> None:
    points = surroundings()
    points[:, :3] = points[:, :3] * factor + shift
    points.tofile(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"a\.bin: "):
        read_points(tmp_path / "a.bin")


def test_a_transform_comes_before_the_checks(tmp_path: Path) -> None:
    points = surroundings()
    (points * [1000, 1000, 1000, 1]).astype(np.float32).tofile(tmp_path / "a.bin")
    to_lidar = np.array([[0, -0.001, 0, 0], [0.001, 0, 0, 0], [0, 0, 0.001, 0.5], [0, 0, 0, 1]])
    read = read_cloud(tmp_path / "a.bin", PointsConfig(), to_lidar).points
    np.testing.assert_allclose(read[:, :3], np.stack([-points[:, 1], points[:, 0], points[:, 2] + 0.5], 1), atol=1e-4)


# Intensity


def of_intensity(path: Path, kind: str, code: str, values: list[float], settings: PointsConfig) -> np.ndarray:
    """Intensities read from a PLY file of that type."""
    points = np.resize(POINTS, (len(values), 4))
    columns = [(name, "float", "f4", points[:, n]) for n, name in enumerate("xyz")]
    path.write_bytes(ply([*columns, ("intensity", kind, code, np.array(values))]))
    return read_points(path, settings)[:, 3]


@pytest.mark.parametrize(
    ("kind", "code"),
    [("uchar", "u1"), ("ushort", "u2"), ("uint", "u4"), ("int", "i4"), ("float", "f4"), ("double", "f8")],
)
def test_one_full_scale_for_every_type(tmp_path: Path, kind: str, code: str) -> None:
    ours = of_intensity(tmp_path / "a.ply", kind, code, [0, 100, 128, 255], PointsConfig(intensity=255))
    np.testing.assert_allclose(ours, np.array([0, 100, 128, 255]) / 255, rtol=1e-6)


def test_one_bright_point_changes_no_other(tmp_path: Path) -> None:
    points = surroundings()
    points[0, 3] = 5.0
    points.tofile(tmp_path / "a.bin")
    read = read_points(tmp_path / "a.bin")
    np.testing.assert_array_equal(read[1:], points[1:])
    assert read[0, 3] == 1


@pytest.mark.parametrize(("scale", "advice"), [(255, 255), (4095, 65535)])
def test_another_full_scale_than_declared_is_refused(tmp_path: Path, scale: int, advice: int) -> None:
    points = surroundings()
    points[:, 3] *= scale
    points.tofile(tmp_path / "a.bin")
    with pytest.raises(DataError, match=rf"intensities go up to .* set data\.intensity={advice}"):
        read_points(tmp_path / "a.bin")
    if scale == 4095:
        with pytest.raises(DataError, match=r"data\.intensity=255"):
            read_points(tmp_path / "a.bin", PointsConfig(intensity=255))
    np.testing.assert_allclose(
        read_points(tmp_path / "a.bin", PointsConfig(intensity=scale))[:, 3], points[:, 3] / scale, rtol=1e-6
    )


def test_a_missing_intensity_must_be_declared(tmp_path: Path) -> None:
    columns = [(name, "float", "f4", POINTS[:, n]) for n, name in enumerate("xyz")]
    (tmp_path / "a.ply").write_bytes(ply(columns))
    with pytest.raises(DataError, match=r"has no intensity \(it has .*\); set data\.intensity=none"):
        read_points(tmp_path / "a.ply")
    points = read_points(tmp_path / "a.ply", PointsConfig(intensity="none"))
    np.testing.assert_array_equal(points[:, :3], POINTS[:, :3])
    assert (points[:, 3] == 0).all()


def test_types_wider_than_a_byte_need_a_full_scale(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"of type uint16 \(up to 128\).* set data\.intensity=255"):
        of_intensity(tmp_path / "a.ply", "ushort", "u2", [0, 128], PointsConfig())
    assert of_intensity(tmp_path / "a.ply", "uchar", "u1", [0, 51], PointsConfig())[1] == pytest.approx(0.2)


# What is left out, and what is refused


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 2, 3])
def test_invalid_values_are_left_out_and_counted(tmp_path: Path, value: float, column: int) -> None:
    points = POINTS.copy()
    points[1, column] = value
    points.tofile(tmp_path / "a.bin")
    (tmp_path / "a.pcd").write_bytes(plain(points))
    (tmp_path / "b.pcd").write_bytes(plain(points, "ascii"))
    for name in ("a.bin", "a.pcd", "b.pcd"):
        read, dropped = read_cloud(tmp_path / name)
        np.testing.assert_array_equal(read, POINTS[[0, 2]])
        assert dropped == 1


def test_an_organised_cloud_with_nothing_in_it_is_refused(tmp_path: Path) -> None:
    points = np.full((6, 4), np.nan, np.float32)
    points[:3] = 0
    (tmp_path / "a.pcd").write_bytes(plain(points, WIDTH=3, HEIGHT=2))
    with pytest.raises(DataError, match=r"a\.pcd: none of its 6 points is valid"):
        read_points(tmp_path / "a.pcd")
    points[4] = POINTS[0]
    (tmp_path / "a.pcd").write_bytes(plain(points, WIDTH=3, HEIGHT=2))
    assert read_cloud(tmp_path / "a.pcd")[1] == 5


def test_the_own_vehicle_is_cut_out(tmp_path: Path) -> None:
    POINTS.tofile(tmp_path / "a.bin")
    read, dropped = read_cloud(tmp_path / "a.bin", PointsConfig(own_vehicle=(-1, -1, 0, 2, 3, 4)))
    np.testing.assert_array_equal(read, POINTS[1:])
    assert dropped == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.bin", POINTS.tobytes()[:-4]),
        ("a.pcd", plain(POINTS, "ascii")[:-5]),
        ("b.pcd", plain(POINTS)[:-4]),
        ("a.ply", plain_ply(POINTS, "ascii")[:-5]),
        ("b.ply", plain_ply(POINTS)[:-4]),
        ("c.pcd", plain(POINTS, WIDTH=10**15, POINTS=10**15)),
        ("d.pcd", plain(POINTS, "ascii", WIDTH=10**15, POINTS=10**15)),
        ("c.ply", plain_ply(POINTS).replace(b"vertex 3", b"vertex 3000000000000")),
        ("d.ply", plain_ply(POINTS, "ascii").replace(b"vertex 3", b"vertex 3000000000000")),
        ("e.ply", plain_ply(POINTS, "ascii").replace(b"element", b"element a 99999999999\nproperty int b\nelement")),
    ],
)
def test_a_truncated_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: .*truncated") as error:
        read_points(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"COUNT": "1 1 1 -9223372036854775808"}, "field intensity has type F, size 4 and count -922"),
        ({"SIZE": "4 4 4 3"}, "field intensity has type F, size 3"),
        ({"TYPE": "F F F"}, "have different lengths"),
        ({"POINTS": 7}, "7 points are not WIDTH 3 times HEIGHT 1"),
        ({"WIDTH": -3, "HEIGHT": -1}, "WIDTH -3"),
        ({"WIDTH": "x"}, "invalid literal"),
        ({"DATA": "text"}, "unknown DATA text"),
    ],
)
def test_a_bad_pcd_header_is_explained(tmp_path: Path, header: dict[str, object], message: str) -> None:
    (tmp_path / "a.pcd").write_bytes(plain(POINTS, "binary", **header))
    with pytest.raises(DataError, match=rf"a\.pcd: has no valid PCD header .*{message}"):
        read_points(tmp_path / "a.pcd")


@pytest.mark.parametrize("name", ["a.pcd", "a.ply", "a.npy", "a.npz", "a.las", "a.laz"])
@pytest.mark.parametrize("content", [b"", b"hello\x00\xff", b"ply\n", b"\x93NUMPY\x01\x00"])
def test_a_file_of_another_kind_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: ") as error:
        read_points(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_small_archive_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", points=np.zeros((20_000_000, 4), np.float32))
    assert (tmp_path / "a.npz").stat().st_size < 2_000_000
    with pytest.raises(DataError, match=r"a\.npz: .*more than"):
        read_points(tmp_path / "a.npz")


def test_a_wrong_path_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.bin")
    (tmp_path / "folder.pcd").mkdir()
    (tmp_path / "loop.ply").symlink_to(tmp_path / "loop.ply")
    for name in ("a.bin", "pipe.bin", "folder.pcd", "loop.ply"):
        with pytest.raises(DataError, match=rf"{name}: ") as error:
            read_points(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match=r"a\.xyz: unknown format of point clouds"):
        read_points(tmp_path / "a.xyz")
