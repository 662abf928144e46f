"""Point clouds and the settings of their sensor: columns, types, units, intensity, and points that are left out."""

from pathlib import Path

import numpy as np
import pytest
from point_files import POINTS, plain, ply, surroundings

from mink_pd.config.points import PointsConfig
from mink_pd.data.points import read_cloud, read_points
from mink_pd.errors import DataError


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


@pytest.mark.parametrize("width", [6, 8, 9, 10, 12, 16])
@pytest.mark.parametrize("fewer", [3, 4, 5, 6, 8])
def test_more_columns_are_not_taken_for_more_points(tmp_path: Path, width: int, fewer: int) -> None:
    """Also where their number is a multiple of the columns that are set."""
    points, rng = surroundings(2400), np.random.default_rng(1)
    extra = np.stack([np.arange(2400) % 64, np.linspace(0, 0.1, 2400), *rng.uniform(0, 1, (10, 2400))], axis=1)
    np.hstack([points, extra])[:, :width].astype(np.float32).tofile(tmp_path / "a.bin")
    names = ["x", "y", "z", "intensity", "ring", "time", "a", "b"][:fewer]
    if width <= fewer:
        return
    with pytest.raises(DataError, match=rf"a\.bin: .*looks like {width} float32 columns"):
        read_points(tmp_path / "a.bin", PointsConfig(columns=names, intensity="none"))


@pytest.mark.parametrize("beams", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("width", [3, 4, 5])
def test_beams_that_alternate_are_not_taken_for_columns(tmp_path: Path, beams: int, width: int) -> None:
    """A low beam ends on the ground nearby, a high one far away, so columns of one beam each fit better."""
    azimuth, beam = np.meshgrid(np.linspace(-np.pi, np.pi, 1200), np.arange(beams), indexing="ij")
    elevation = np.radians(-15.0 + 14.5 * beam / max(1, beams - 1))
    distance = np.minimum(1.8 / np.sin(-elevation), 20 + 15 * np.sin(3 * azimuth))
    ahead = distance * np.cos(elevation)
    xyz = [ahead * np.cos(azimuth), ahead * np.sin(azimuth), distance * np.sin(elevation)]
    table = np.stack([*xyz, np.full_like(ahead, 0.5), beam], axis=-1).reshape(-1, 5)[:, :width].astype(np.float32)
    table.tofile(tmp_path / "a.bin")
    settings = PointsConfig(columns=["x", "y", "z", "intensity", "ring"][:width], intensity="none")
    assert len(read_points(tmp_path / "a.bin", settings)) == len(table)


@pytest.mark.parametrize("scale", [1.0, 255.0, "none"])
def test_columns_one_after_another_are_named(tmp_path: Path, scale: float | str) -> None:
    points = surroundings()
    points[:, 3] *= 1.0 if scale == "none" else scale
    np.ascontiguousarray(points.T).tofile(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"a\.bin: .* all values of the first column, then .*; write it point by point"):
        read_points(tmp_path / "a.bin", PointsConfig(intensity=scale))


def test_a_level_beam_with_rounded_zeros_is_a_cloud(tmp_path: Path) -> None:
    points = surroundings()
    points[::16, 2] = 1e-16
    points.tofile(tmp_path / "a.bin")
    np.testing.assert_array_equal(read_points(tmp_path / "a.bin"), points)


def test_axes_are_written_row_by_row() -> None:
    matrix = np.array([[0.0, 1, 0, 2], [-1, 0, 0, 3], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert PointsConfig(axes=matrix.tolist()).to_lidar is not None
    for wrong, words in ((matrix.T, "column by column"), (matrix + np.diag([0, 0, 0, 1.0]), "last row")):
        with pytest.raises(ValueError, match=words):
            PointsConfig(axes=wrong.tolist())


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


def test_map_coordinates_of_any_format_are_named(tmp_path: Path) -> None:
    """A northing in UTM is above a million metres; a file with a header has no data.dtype to check."""
    points = surroundings().astype(np.float64)
    points[:, :3] += [5e5, 5.4e6, 100]
    columns = [(name, "double", "f8", points[:, n]) for n, name in enumerate(("x", "y", "z", "intensity"))]
    (tmp_path / "utm.ply").write_bytes(ply(columns))
    with pytest.raises(DataError, match=r"utm\.ply: 100% of its points .* or map coordinates first"):
        read_points(tmp_path / "utm.ply")


@pytest.mark.parametrize("part", ["x y z", "whole points"])
@pytest.mark.parametrize("pattern", ["block", "random", *range(2, 17)])
def test_points_without_a_return_may_follow_any_pattern(tmp_path: Path, pattern: str | int, part: str) -> None:
    """They do not make columns look like others, and other columns are still noticed."""
    points, number = surroundings(), np.arange(2000)
    if isinstance(pattern, int):
        lost = number % pattern == 0
    else:
        lost = number < 900 if pattern == "block" else np.random.default_rng(0).random(2000) < 0.4
    points[lost, : 4 if part == "whole points" else 3] = np.nan
    points.tofile(tmp_path / "a.bin")
    read, dropped = read_cloud(tmp_path / "a.bin")
    assert dropped == np.count_nonzero(lost)
    np.testing.assert_array_equal(read, points[~lost])
    with pytest.raises(DataError, match=r"a\.bin: "):
        read_cloud(tmp_path / "a.bin", PointsConfig(columns=["x", "y", "z", "intensity", "ring"]))


def test_a_transform_comes_before_the_checks(tmp_path: Path) -> None:
    points = surroundings()
    (points * [1000, 1000, 1000, 1]).astype(np.float32).tofile(tmp_path / "a.bin")
    to_lidar = np.array([[0, -0.001, 0, 0], [0.001, 0, 0, 0], [0, 0, 0.001, 0.5], [0, 0, 0, 1]])
    read = read_cloud(tmp_path / "a.bin", PointsConfig(axes=to_lidar.tolist())).points
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
