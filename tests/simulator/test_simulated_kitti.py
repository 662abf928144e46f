"""Simulated data sets in KITTI's layout: what is written, read by pykitti and by our own readers; the tool."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pykitti
import pytest
from scipy.spatial import cKDTree

from mink_pd.data.datasets.kitti_dataset import Kitti
from mink_pd.data.kitti.calibration import read_calibration
from mink_pd.data.kitti.kitti_raw import open_raw
from mink_pd.errors import ConfigError, DataError
from mink_pd.simulator import DATE, DRIVE, Settings, simulate, simulate_frame
from mink_pd.simulator.drive import PERIOD, SPEED, write_drive
from mink_pd.simulator.rig import IMAGE_SIZE, calibration
from mink_pd.simulator.write import MANIFEST, new_data_set

TOOL = Path(__file__).resolve().parents[2] / "tools" / "simulate_kitti.py"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulator") / "kitti"
    assert simulate(out, Settings(train=3, val=2, seed=7)) is not None
    return out


def test_a_frame_depends_on_seed_and_number_alone(tmp_path: Path, dataset: Path) -> None:
    other = tmp_path / "other"
    simulate(other, Settings(train=1, val=5, seed=7), workers=2)
    for name in ("velodyne/000000.bin", "velodyne/000004.bin", "label_2/000003.txt", "calib/000001.txt"):
        assert (other / "training" / name).read_bytes() == (dataset / "training" / name).read_bytes()
    assert simulate_frame(7, 0)[0].points.tobytes() != simulate_frame(8, 0)[0].points.tobytes()
    assert simulate_frame(7, 0)[0].points.tobytes() != simulate_frame(7, 1)[0].points.tobytes()


# -- layout


def test_layout_is_read_as_kitti(dataset: Path) -> None:
    train, val = Kitti(dataset, "train"), Kitti(dataset, "val")
    assert train.ids == ["000000", "000001", "000002"]
    assert val.ids == ["000003", "000004"]
    assert Kitti(dataset, "trainval").ids == train.ids + val.ids
    for frame in (train[0], val[1]):
        whole = Kitti(dataset, [frame.id], camera_view=False)[0]
        assert len(frame.points) == len(whole.points) > 10_000  # only what the camera sees was written
        assert 0 <= frame.points[:, 3].min() <= frame.points[:, 3].max() < 1
        assert len(frame.boxes) > 0
    keys = [line.split(":")[0] for line in (dataset / "training/calib/000000.txt").read_text().splitlines()]
    assert keys == ["P0", "P1", "P2", "P3", "R0_rect", "Tr_velo_to_cam", "Tr_imu_to_velo"]
    written = read_calibration(dataset / "training/calib/000000.txt")
    np.testing.assert_allclose(written.camera_from_lidar, calibration().camera_from_lidar, atol=1e-11)
    np.testing.assert_allclose(written.r0_rect @ written.r0_rect.T, np.eye(3), atol=1e-11)


def test_same_call_does_nothing_and_another_is_refused(dataset: Path) -> None:
    before = (dataset / "training/velodyne/000000.bin").stat().st_mtime_ns
    assert simulate(dataset, Settings(train=3, val=2, seed=7)) is None
    with pytest.raises(DataError, match=r"seed 7, not 9.*--force"):
        simulate(dataset, Settings(train=3, val=2, seed=9))
    assert (dataset / "training/velodyne/000000.bin").stat().st_mtime_ns == before


def test_force_replaces_simulated_data_only(tmp_path: Path) -> None:
    out = tmp_path / "kitti"
    simulate(out, Settings(train=2, val=0))
    simulate(out, Settings(train=1, val=0), force=True)
    assert [path.name for path in (out / "training/velodyne").iterdir()] == ["000000.bin"]
    assert json.loads((out / "simulator.json").read_text())["train"] == 1
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").touch()
    with pytest.raises(DataError, match="is not a simulated data set"):
        simulate(precious, Settings(train=1, val=0), force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kitti", "precious"]


def test_nothing_is_left_of_a_run_that_fails(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "kitti", Settings(train=2, val=0), advance=stop)
    assert list(tmp_path.iterdir()) == []


def test_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "kitti[v2]"  # what looks like markup is part of the name

    def call(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [str(TOOL), str(out), *arguments])
        runpy.run_path(str(TOOL), run_name="__main__")

    call("--train", "2", "--val", "1")
    assert f"{out}: 2 frames in train, 1 in val\n" in capsys.readouterr().out
    call("--train", "2", "--val", "1")
    assert f"{out} is already there, made with the same settings: nothing to do\n" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        call("--train", "3", "--val", "1")
    assert caught.value.code == 2


# -- scenes


@pytest.fixture(scope="module")
def drive_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("raw")
    assert len(list(write_drive(base, seed=0, count=4))) == 4
    return base


@pytest.fixture(scope="module")
def drive(drive_base: Path) -> Any:
    return pykitti.raw(str(drive_base), DATE, DRIVE)


def test_pykitti_reads_the_calibration(drive: Any) -> None:
    rig = calibration()
    np.testing.assert_allclose(drive.calib.T_cam0_velo, rig.camera_from_lidar, atol=1e-9)
    np.testing.assert_allclose(drive.calib.P_rect_20, rig.p2, rtol=1e-11)
    assert drive.calib.b_rgb == pytest.approx(0.53, abs=0.01)
    assert drive.calib.b_gray == pytest.approx(0.54, abs=0.01)


def test_pykitti_reads_poses_that_register_the_scans(drive: Any) -> None:
    assert len(drive) == len(drive.velo_files) == 4
    assert (drive.timestamps[3] - drive.timestamps[0]).total_seconds() == pytest.approx(3 * PERIOD)
    velo_from_imu = drive.calib.T_velo_imu
    clouds, starts = [], []
    for packet, points in zip(drive.oxts, drive.velo, strict=True):
        pose = packet.T_w_imu @ np.linalg.inv(velo_from_imu)  # LiDAR -> world
        starts.append(pose[:3, 3])
        high = points[(points[:, 2] > 0) & (np.linalg.norm(points[:, :3], axis=1) < 30), :3]  # walls, poles
        clouds.append(high @ pose[:3, :3].T + pose[:3, 3])
        assert len(points) > 60_000
    way = np.linalg.norm(starts[3] - starts[0])
    assert way == pytest.approx(3 * PERIOD * SPEED, rel=0.01)
    registered = np.median(cKDTree(clouds[0]).query(clouds[3])[0])
    apart = np.median(cKDTree(clouds[0] - starts[0]).query(clouds[3] - starts[3])[0])
    assert registered < 0.15
    assert registered < 0.7 * apart


def test_raw_drives_are_read_as_frames(drive: Any, drive_base: Path) -> None:
    frames = open_raw(drive_base, DATE, DRIVE)
    assert frames.image_size == IMAGE_SIZE
    assert 10_000 < len(frames[2].points) < len(drive.get_velo(2)) / 3


def test_same_drive_again(drive: Any, tmp_path: Path) -> None:
    path = next(iter(write_drive(tmp_path, seed=0, count=4)))
    np.testing.assert_array_equal(np.fromfile(path, np.float32).reshape(-1, 4), drive.get_velo(0))


def test_a_folder_that_cannot_be_replaced_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="contains the current folder"), new_data_set(Path("."), {}, force=False):
        pytest.fail("the work was begun")


def test_a_link_to_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk" / "set").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk" / "set")
    for seed in (1, 2):
        with new_data_set(link, {"seed": seed}, force=True) as root:
            assert root is not None
    assert link.is_symlink()
    assert json.loads((tmp_path / "disk" / "set" / MANIFEST).read_text()) == {"seed": 2}
    assert [one.name for one in tmp_path.glob("**/.*")] == []
