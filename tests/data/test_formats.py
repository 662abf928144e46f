"""Point cloud files of every format: their points, and what is refused."""

import io
import os
import struct
from pathlib import Path

import laspy
import numpy as np
import pytest
from point_files import POINTS, pcd, plain, plain_ply, surroundings

from mink_pd.config.points import PointsConfig
from mink_pd.data.points import read_points
from mink_pd.errors import DataError


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


def test_an_archive_may_hold_columns_beside_the_coordinates(tmp_path: Path) -> None:
    ring = np.arange(len(POINTS))
    for intensity in (POINTS[:, 3], POINTS[:, 3:]):
        np.savez(tmp_path / "a.npz", xyz=POINTS[:, :3], intensity=intensity, ring=ring, stamp=5.0)
        np.testing.assert_array_equal(read_points(tmp_path / "a.npz"), POINTS)
    np.savez(tmp_path / "short.npz", xyz=POINTS[:, :3], intensity=POINTS[1:, 3])
    with pytest.raises(DataError, match=r"short\.npz: .*array intensity has 2 values for 3 points"):
        read_points(tmp_path / "short.npz")
    np.savez(tmp_path / "b.npz", points=POINTS[:, :3], brightness=POINTS[:, 3])
    with pytest.raises(DataError, match=r"b\.npz: has 3 columns.* \(it contains points, brightness\)"):
        read_points(tmp_path / "b.npz")


def test_an_archive_may_hold_arrays_of_the_whole_cloud(tmp_path: Path) -> None:
    columns = dict(zip(("x", "y", "z", "intensity"), POINTS.T, strict=True))
    more = {"timestamp": np.array([5.0]), "pose": np.arange(16.0), "sensor": np.array(["top"])}
    np.savez(tmp_path / "columns.npz", **columns, **more)
    np.savez(tmp_path / "table.npz", xyz=POINTS[:, :3], intensity=POINTS[:, 3], **more)
    for name in ("columns.npz", "table.npz"):
        np.testing.assert_array_equal(read_points(tmp_path / name), POINTS, err_msg=name)
    for key, said in (("z", "x, y and z are not columns of one length"), ("intensity", "intensity has 2 values for 3")):
        np.savez(tmp_path / "short.npz", **columns | {key: columns[key][1:]}, **more)
        with pytest.raises(DataError, match=rf"short\.npz: .*{said}"):
            read_points(tmp_path / "short.npz")


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


def las(points: np.ndarray, version: str = "1.2", format: int = 0, behind: bytes = b"", **fields: int) -> bytes:
    """A LAS file with other values in fields of its header: ``count``, ``legacy`` (count) or ``records`` (offset)."""
    cloud = laspy.LasData(laspy.LasHeader(point_format=format, version=version))
    cloud.x, cloud.y, cloud.z = points[:, :3].T.astype(np.float64)
    file = io.BytesIO()
    cloud.write(file)
    content = bytearray(file.getvalue() + behind)
    for name, value in fields.items():
        kind, at = {"count": ("<Q", 247), "legacy": ("<I", 107), "records": ("<Q", 235)}[name]
        struct.pack_into(kind, content, at, value)
    return bytes(content)


def compressed_pcd(stated: int) -> bytes:
    """A compressed PCD file of 64 bytes of points, of which the header states some."""
    packed = b"\x1f" + bytes(range(32)) + b"\x1f" + bytes(range(32))  # two runs of literals
    return (
        plain(np.zeros((stated, 4)), "binary_compressed")[: -16 * stated or None] + struct.pack("<II", 66, 64) + packed
    )


CAMERA = b"element camera 1\nproperty double focus\nend_header"  # of 8 bytes or one line, as PCL writes one


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("0 of 3 as text.pcd", plain(POINTS, "ascii", WIDTH=0, POINTS=0)),
        ("2 of 3 as text.pcd", plain(POINTS, "ascii", WIDTH=2, POINTS=2)),
        ("0 of 3.pcd", plain(POINTS, WIDTH=0, POINTS=0)),
        ("2 of 3.pcd", plain(POINTS, WIDTH=2, POINTS=2)),
        ("0 of 4.pcd", compressed_pcd(0)),
        ("1 of 4.pcd", compressed_pcd(1)),
        ("0 of 3 as text.ply", plain_ply(POINTS, "ascii").replace(b"vertex 3", b"vertex 0")),
        ("2 of 3 as text.ply", plain_ply(POINTS, "ascii").replace(b"vertex 3", b"vertex 2")),
        ("0 of 3.ply", plain_ply(POINTS).replace(b"vertex 3", b"vertex 0")),
        ("2 of 3.ply", plain_ply(POINTS).replace(b"vertex 3", b"vertex 2")),
        (
            "1 of 3.ply",
            plain_ply(POINTS).replace(b"vertex 3", b"vertex 1").replace(b"end_header", CAMERA) + b"8 bytes.",
        ),
        ("0 of 3.las", las(POINTS, legacy=0)),
        ("2 of 3.las", las(POINTS, legacy=2)),
        ("0 of 3 in 1.4.las", las(POINTS, "1.4", 6, count=0)),
        ("0 of 3, records behind.las", las(POINTS, "1.4", 6, count=0, records=375 + 90, behind=b"\0" * 60)),
    ],
)
def test_more_points_than_the_header_states_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_points(path, PointsConfig(intensity="none"))
    stated, present = name[0], name[5]
    assert str(error.value).startswith(f"{path}: its header states {stated} points, but {present} are there")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.pcd", plain(POINTS, "ascii") + b"\n\n# the end\n"),
        ("rest.pcd", plain(POINTS) + b"\n"),
        ("camera as text.ply", plain_ply(POINTS, "ascii").replace(b"end_header", CAMERA) + b"35.0\n"),
        ("camera.ply", plain_ply(POINTS[:1]).replace(b"end_header", CAMERA) + b"\0" * 8),
        (
            "no faces.ply",
            plain_ply(POINTS).replace(b"end_header", b"element face 0\nproperty list uchar int i\nend_header"),
        ),
        (
            "faces.ply",
            plain_ply(POINTS).replace(b"end_header", b"element face 9\nproperty list uchar int i\nend_header")
            + b"\0" * 117,
        ),
        ("records behind.las", las(POINTS, "1.4", 6, records=375 + 90, behind=b"\0" * 60)),
        ("old count alone.las", las(POINTS, "1.4", 3, legacy=3, count=0)),
    ],
)
def test_what_is_no_further_point_may_follow(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    found = read_points(tmp_path / name, PointsConfig(intensity="none"))
    np.testing.assert_allclose(found[:, :3], POINTS[: len(found), :3], atol=0.01)
    assert len(found) == (1 if name == "camera.ply" else 3)


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_an_empty_las_has_no_rows_and_one_that_was_not_closed_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for count in (0, 50):
        cloud = laspy.LasData(laspy.LasHeader(point_format=0, version="1.2"))
        cloud.x, cloud.y, cloud.z = surroundings()[:count, :3].T.astype(np.float64)
        cloud.write(path)
        if not count:
            assert read_points(path, PointsConfig(intensity="none")).shape == (0, 4)
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 107, 0)
    path.write_bytes(content)
    with pytest.raises(DataError, match="its header states 0 points, but"):
        read_points(path, PointsConfig(intensity="none"))


def test_an_array_beside_its_header_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "none.npy", POINTS[:0])
    content = (tmp_path / "none.npy").read_bytes()
    assert read_points(tmp_path / "none.npy").shape == (0, 4)
    (tmp_path / "a.npy").write_bytes(content + POINTS.tobytes())
    with pytest.raises(DataError, match=r"a\.npy: .*48 bytes are more than an array of shape \(0, 4\)"):
        read_points(tmp_path / "a.npy")


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
