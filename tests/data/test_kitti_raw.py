import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from mink_pd.data.kitti.kitti_raw import open_raw
from mink_pd.errors import DataError

DATE, DRIVE = "2011_09_26", "0005"
VELO_ROTATION = [0, -1, 0, 0, 0, -1, 1, 0, 0]
P2 = [720, 0, 610, 45, 0, 720, 173, 0.2, 0, 0, 1, 0.003]


def write(path: Path, entries: Mapping[str, Sequence[float]]) -> None:
    lines = ["calib_time: 09-Jan-2012 13:57:47"]
    lines += [f"{key}: {' '.join(map(str, values))}" for key, values in entries.items()]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """A drive of three scans whose second is lost, as in some official drives; returns the day's folder."""
    day = tmp_path / DATE
    folder = day / f"{DATE}_drive_{DRIVE}_sync"
    identity = np.eye(3).ravel().tolist()
    cameras: dict[str, list[float]] = {}
    for n in range(4):
        cameras |= {f"S_rect_0{n}": [1238, 374], f"R_rect_0{n}": identity, f"P_rect_0{n}": P2}
    angle = 0.01
    cameras["R_rect_00"] = [np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1]
    for name in ("velodyne_points/data", "oxts/data"):
        (folder / name).mkdir(parents=True)
    write(day / "calib_cam_to_cam.txt", cameras)
    write(day / "calib_velo_to_cam.txt", {"R": VELO_ROTATION, "T": [0, -0.08, -0.27]})
    write(day / "calib_imu_to_velo.txt", {"R": identity, "T": [-0.8, 0.3, -0.8]})
    stamps = [f"2011-09-26 13:02:25.{n}64389445" for n in range(3)]
    (folder / "oxts" / "timestamps.txt").write_text("\n".join(stamps) + "\n")
    for n in range(3):
        (folder / "oxts" / "data" / f"{n:010d}.txt").write_text(" ".join(["49.0"] * 25 + ["4"] * 5) + "\n")
        if n != 1:
            points = np.array([[10 + n, 0, 0, 0.5], [-10, 0, 0, 0.5]], np.float32)
            points.tofile(folder / "velodyne_points" / "data" / f"{n:010d}.bin")
    return day


@pytest.mark.parametrize("name", [5, "5", "0005", "2011_09_26_drive_0005_sync"])
def test_a_drive_opens_by_any_of_its_names(drive: Path, name: str | int) -> None:
    assert open_raw(drive.parent, DATE, name).ids == ["0000000000", "0000000002"]


def test_calibration_comes_from_the_drive(drive: Path) -> None:
    calibration = open_raw(drive.parent, DATE, DRIVE).calibration
    np.testing.assert_allclose(calibration.p2, np.reshape(P2, (3, 4)))
    np.testing.assert_allclose(calibration.velo_to_cam[:, :3], np.reshape(VELO_ROTATION, (3, 3)))
    np.testing.assert_allclose(calibration.velo_to_cam[:, 3], [0, -0.08, -0.27])
    assert calibration.r0_rect[1, 0] == pytest.approx(np.sin(0.01))
    ahead = calibration.lidar_to_camera(np.array([[10.0, 0, 0]]))
    # by hand: LiDAR x is depth; (0, -0.08) is turned by R_rect_00
    np.testing.assert_allclose(ahead, [[0.08 * np.sin(0.01), -0.08 * np.cos(0.01), 9.73]], atol=1e-9)


def test_frames_have_points_and_no_boxes(drive: Path) -> None:
    raw = open_raw(drive.parent, DATE, DRIVE, camera_view=False)
    assert len(raw) == 2
    frame = raw[1]
    assert frame.id == "0000000002"
    assert frame.points[0].tolist() == [12, 0, 0, 0.5]
    assert frame.boxes.shape == (0, 7)
    assert frame.image_size == (1238, 374)
    assert len(frame.points) == 2
    assert len(open_raw(drive.parent, DATE, DRIVE)[1].points) == 1  # the other is behind the camera


@pytest.mark.parametrize(
    "lost",
    [
        "calib_cam_to_cam.txt",
        "calib_velo_to_cam.txt",
        "2011_09_26_drive_0005_sync",
        "2011_09_26_drive_0005_sync/velodyne_points",
    ],
)
def test_what_is_missing_is_named(drive: Path, lost: str) -> None:
    (drive / lost).rename(drive / "elsewhere")
    with pytest.raises(DataError, match=rf"{lost}.*: missing from the raw drive"):
        open_raw(drive.parent, DATE, DRIVE)


def test_neither_oxts_nor_a_plain_path_is_needed(drive: Path, tmp_path: Path) -> None:
    shutil.rmtree(drive / f"{DATE}_drive_{DRIVE}_sync" / "oxts")
    (drive / "calib_imu_to_velo.txt").unlink()
    base = tmp_path / "raw [left] *?"
    base.mkdir()
    drive.rename(base / DATE)
    assert len(open_raw(base, DATE, DRIVE)) == 2


def test_a_shear_is_named(drive: Path) -> None:
    write(drive / "calib_velo_to_cam.txt", {"R": [1, 0.5, 0, 0, 1, 0, 0, 0, 1], "T": [0, -0.08, -0.27]})
    with pytest.raises(DataError, match=r"calib_velo_to_cam\.txt: .* is not a rotation"):
        open_raw(drive.parent, DATE, DRIVE)


def test_a_wrong_base_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{DATE}: missing from the raw drive"):
        open_raw(tmp_path, DATE, DRIVE)
    with pytest.raises(DataError, match="drive 'x': not a drive of"):
        open_raw(tmp_path, DATE, "x")


def test_a_missing_calibration_key_is_one_line(drive: Path) -> None:
    path = drive / "calib_cam_to_cam.txt"
    path.write_text("".join(line for line in path.open() if not line.startswith("P_rect_02")))
    with pytest.raises(DataError, match=r"calib_cam_to_cam\.txt: lacks key 'P_rect_02'") as error:
        open_raw(drive.parent, DATE, DRIVE)
    assert "\n" not in str(error.value)


def test_a_drive_without_scans_is_named(drive: Path) -> None:
    folder = drive / f"{DATE}_drive_{DRIVE}_sync" / "velodyne_points" / "data"
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"no \.bin file"):
        open_raw(drive.parent, DATE, DRIVE)


def test_a_truncated_scan_is_named(drive: Path) -> None:
    file = drive / f"{DATE}_drive_{DRIVE}_sync" / "velodyne_points" / "data" / "0000000000.bin"
    file.write_bytes(b"123")
    with pytest.raises(DataError, match=r"0000000000\.bin: truncated"):
        open_raw(drive.parent, DATE, DRIVE)[0]


def test_time_stamps_are_those_of_the_scans_that_are_there(drive: Path) -> None:
    stamps = drive / f"{DATE}_drive_{DRIVE}_sync" / "velodyne_points" / "timestamps.txt"
    assert open_raw(drive.parent, DATE, 5).stamps is None
    stamps.write_text("".join(f"2011-09-26 13:02:2{n}.364389445\n" for n in range(3)))
    start = int(datetime(2011, 9, 26, 13, 2, 20, tzinfo=UTC).timestamp()) * 1_000_000_000
    assert open_raw(drive.parent, DATE, 5).stamps == [start + 364_389_445, start + 2_364_389_445]
    for text in ("2011-09-26 13:02:20.3\n", "yesterday\n" * 3):  # too few lines, no times
        stamps.write_text(text)
        with pytest.raises(DataError, match=f"{stamps}: lacks a scan's time"):
            open_raw(drive.parent, DATE, 5)


def test_scans_whose_time_runs_backwards_are_refused(drive: Path) -> None:
    stamps = drive / f"{DATE}_drive_{DRIVE}_sync" / "velodyne_points" / "timestamps.txt"
    stamps.write_text("".join(f"2011-09-26 13:02:2{n}.364389445\n" for n in (5, 9, 3)))
    with pytest.raises(
        DataError, match=r"timestamps\.txt: scan 0000000002: its time stamp is 2\.000 s before"
    ) as error:
        open_raw(drive.parent, DATE, 5)
    assert "\n" not in str(error.value)
    stamps.write_text("2011-09-26 13:02:25.364389445\n" * 3)  # a clock may stand still
    assert len(open_raw(drive.parent, DATE, 5)) == 2
