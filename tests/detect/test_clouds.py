"""Which clouds an argument names, and which calibration belongs to each."""

import json
from pathlib import Path

import numpy as np
import pytest
from point_files import surroundings
from stand_in import MeanDetector

from mink_pd.config import Config
from mink_pd.config.points import PointsConfig
from mink_pd.data.kitti.calibration import Calibration, write_calibration
from mink_pd.data.kitti.labels import read_objects
from mink_pd.detect.bulk import Bulk
from mink_pd.detect.clouds import PointFiles, check_writes, write_detections
from mink_pd.detect.predict import FrameDetections
from mink_pd.errors import ConfigError, DataError

AHEAD = np.array([[10, 0, 0, 0.5], [-10, 0, 0, 0.5]], np.float32)  # one point before the camera, one behind it


@pytest.fixture
def calibration() -> Calibration:
    p2 = np.array([[721.5, 0, 609.6, 0], [0, 721.5, 172.9, 0], [0, 0, 1, 0]])
    return Calibration(p2, np.eye(3), np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]]))


@pytest.fixture
def kitti(tmp_path: Path, calibration: Calibration) -> Path:
    """A folder in KITTI's layout; the second frame has no calib file."""
    root = tmp_path / "training"
    for name in ("velodyne", "calib"):
        (root / name).mkdir(parents=True)
    for frame in ("000000", "000001"):
        AHEAD.tofile(root / "velodyne" / f"{frame}.bin")
    write_calibration(root / "calib" / "000000.txt", calibration)
    return root


@pytest.mark.parametrize("given", ["", "..", "velodyne", "velodyne/000000.bin"])
def test_kittis_layout_brings_its_calibration(kitti: Path, given: str) -> None:
    frames = PointFiles([kitti / given], None, camera_view=True)
    assert frames.ids == (["000000"] if given.endswith(".bin") else ["000000", "000001"])
    assert frames[0].calibration is not None
    assert frames[0].image_size == (1242, 375)
    assert len(frames[0].points) == 1  # what the camera does not see is cut where the calibration is known
    if len(frames) > 1:
        assert frames[1].calibration is None
        assert len(frames[1].points) == 2


def test_without_camera_view_nothing_is_cut(kitti: Path) -> None:
    assert len(PointFiles([kitti], None, camera_view=False)[0].points) == 2


def test_calibration_for_all_or_for_each(kitti: Path, tmp_path: Path) -> None:
    cloud = tmp_path / "000000.bin"
    AHEAD.tofile(cloud)
    assert PointFiles([cloud], None, True)[0].calibration is None
    for calib in (kitti / "calib", kitti / "calib" / "000000.txt"):
        assert PointFiles([cloud], calib, True)[0].calibration is not None
    with pytest.raises(DataError, match=r"calib/000001\.txt"):
        PointFiles([kitti / "velodyne" / "000001.bin"], kitti / "calib", True)


def test_neighbours_of_a_link_and_of_what_it_points_to(kitti: Path, tmp_path: Path) -> None:
    """calib/ beside the path as given comes first; else that beside the file itself."""
    linked = tmp_path / "linked" / "velodyne"
    linked.mkdir(parents=True)
    (linked / "000000.bin").symlink_to(kitti / "velodyne" / "000000.bin")
    assert PointFiles([linked], None, True)[0].calibration is not None
    (tmp_path / "store").mkdir()
    for name in ("000000.bin", "000001.bin"):
        (kitti / "velodyne" / name).rename(tmp_path / "store" / name)
        (kitti / "velodyne" / name).symlink_to(tmp_path / "store" / name)
    frames = PointFiles([kitti], None, True)
    assert frames[0].calibration is not None
    assert frames[1].calibration is None


def test_boxes_all_around_are_written_where_the_view_is_not_cut(kitti: Path, tmp_path: Path) -> None:
    frame = PointFiles([kitti], None, camera_view=False)[0]
    boxes = np.array([[15, 1, -1, 4, 2, 1.5, 0.3], [-15, 1, -1, 4, 2, 1.5, 0.3]], np.float32)
    found = FrameDetections(boxes, np.array(["Car", "Car"]), np.array([0.9, 0.8], np.float32))
    assert write_detections(tmp_path, frame, found) == 1  # is left out
    assert len(read_objects(tmp_path / "000000.txt")) == 1
    assert write_detections(tmp_path, frame, found, unseen=True) == 0
    rows = read_objects(tmp_path / "000000.txt")
    assert rows.location[:, 2].round(3).tolist() == [15, -15]
    assert rows.bbox[1].tolist() == [0, 0, 0, 0]


def test_wrong_paths_are_named_before_any_cloud_is_read(kitti: Path, tmp_path: Path) -> None:
    AHEAD.tofile(tmp_path / "000000.bin")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    both = tmp_path / "both"
    for half in ("training", "testing"):
        (both / half).mkdir(parents=True)
    bad = {
        tmp_path / "absent.bin": "no such",
        tmp_path / "notes.txt": "not a point cloud",
        tmp_path / "empty": "holds no",
        both: "training and testing",
        tmp_path / "000000.bin": "same name",
    }
    for path, reason in bad.items():
        with pytest.raises(DataError, match=reason) as error:
            PointFiles([kitti / "velodyne" / "000000.bin", path], None, True)
        assert str(error.value).startswith(str(path))
        assert "\n" not in str(error.value)


def test_what_is_no_cloud_in_a_folder_is_left_out_or_named(tmp_path: Path) -> None:
    AHEAD.tofile(tmp_path / "1.BIN")
    (tmp_path / "._1.bin").write_bytes(b"macOS")
    np.zeros((3, 5), np.float32).tofile(tmp_path / "SCENE.PCD.BIN")
    (tmp_path / "3.bin").mkdir()
    assert PointFiles([tmp_path], None, True).ids == ["1", "SCENE"]
    (tmp_path / "2.bin").symlink_to(tmp_path / "moved" / "2.bin")
    with pytest.raises(DataError) as error:
        PointFiles([tmp_path], None, True)
    assert str(error.value).startswith(f"{tmp_path / '2.bin'}: is a link to {tmp_path / 'moved' / '2.bin'}, which")
    assert "\n" not in str(error.value)


def test_a_class_that_kittis_files_cannot_hold_is_refused_before_detection(kitti: Path) -> None:
    frames = PointFiles([kitti], None, True)
    check_writes(frames, ["Car", "Traffic_Cone"])
    with pytest.raises(ConfigError, match=r"'Traffic Cone' has white space, .*name the class Traffic_Cone, or .*JSON"):
        check_writes(frames, ["Car", "Traffic Cone"])
    (kitti / "calib" / "000000.txt").unlink()
    check_writes(PointFiles([kitti], None, True), ["Car", "Traffic Cone"])  # these give JSON


def test_kitti_files_with_a_calibration_and_json_without(kitti: Path, tmp_path: Path) -> None:
    detector = MeanDetector(Config()).eval()
    for parameter in detector.parameters():
        parameter.data.zero_()
    detector.layers[-1].bias.data[:] = detector.layers[-1].bias.new_tensor([15, 1, -1, 4, 2, 1.5, 0.3])
    out = tmp_path / "deep" / "out"
    bulk = Bulk(PointFiles([kitti], None, True), out, {})
    bulk.open(force=False)
    assert list(bulk.detect(detector, Config())) == [2]
    assert bulk.objects() == 2
    assert sorted(file.name for file in out.iterdir()) == [
        "000000.txt",
        "000001.json",
        "detect.inputs.jsonl",
        "detect.yaml",
    ]
    rows = json.loads((out / "000001.json").read_text())
    assert rows["names"] == ["Car"]
    assert rows["scores"] == [1.0]
    assert rows["boxes"][0] == pytest.approx([15, 1, -1, 4, 2, 1.5, 0.3])
    objects = read_objects(out / "000000.txt")
    assert objects.names.tolist() == ["Car"]
    # The camera of this calibration sits in the LiDAR: x right, y down to the bottom face, z ahead.
    assert objects.location[0] == pytest.approx([-1, 1 + 0.75, 15], abs=1e-5)
    assert objects.dimensions[0] == pytest.approx([1.5, 2, 4], abs=1e-5)


def test_a_turn_of_nuscenes_and_what_a_detector_sees_of_it(tmp_path: Path) -> None:
    """Five columns in the file, the last of which is the ring; a detector of five sees the time lag there, 0."""
    turn = np.array([[10, 1, 0, 51, 7], [0.5, 0.5, 1, 255, 3], [-10, 2, 0, 255, 31]], np.float32)
    turn.tofile(tmp_path / "scene.pcd.bin")
    frames = PointFiles([tmp_path / "scene.pcd.bin"], None, camera_view=True, columns=5)
    assert frames.ids == ["scene"]
    expected = np.array([[10, 1, 0, 0.2, 0], [-10, 2, 0, 1, 0]], np.float32)  # the car's own point is left out
    np.testing.assert_allclose(frames[0].points, expected)
    assert frames[0].dropped == 1
    AHEAD.tofile(tmp_path / "four.bin")
    five = PointFiles([tmp_path / "four.bin"], None, True, columns=5)[0].points
    np.testing.assert_array_equal(five, np.pad(AHEAD, ((0, 0), (0, 1))))
    np.testing.assert_array_equal(PointFiles([tmp_path / "scene.pcd.bin"], None, True)[0].points, expected[:, :4])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"columns": ["x", "y", "z"], "dtype": "float64"}, "looks like 5 float32 columns"),
        ({"dtype": "float64"}, "does not have 5 columns of float64"),
        ({"intensity": 1}, "above their full scale"),
        ({"returns": 1}, "has no column 'return'"),
    ],
)
def test_settings_that_contradict_a_turn_of_nuscenes_are_errors(
    tmp_path: Path, settings: dict[str, object], reason: str
) -> None:
    points = np.pad(surroundings(), ((0, 0), (0, 1)))
    points[:, 3:] = np.stack([np.floor(points[:, 3] * 255), np.arange(2000) % 32], axis=1)
    points.tofile(tmp_path / "a.pcd.bin")
    assert len(PointFiles([tmp_path / "a.pcd.bin"], None, True)[0].points)
    with pytest.raises(DataError, match=reason):
        PointFiles([tmp_path / "a.pcd.bin"], None, True, settings=PointsConfig.model_validate(settings))[0]


def test_points_on_the_own_vehicle_of_a_turn_are_left_out(tmp_path: Path) -> None:
    turn = np.array([[10, 1, 0, 51, 7], [3, 0.5, 1, 255, 3], [0.5, 0.5, 1, 255, 3]], np.float32)
    turn.tofile(tmp_path / "a.pcd.bin")
    settings = PointsConfig(own_vehicle=(2, 0, 0, 4, 1, 2))
    one = PointFiles([tmp_path / "a.pcd.bin"], None, True, settings=settings)[0]
    assert (len(one.points), one.dropped) == (1, 2)


def test_files_without_a_byte_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(b"")
    AHEAD.tofile(tmp_path / "c.bin")
    assert len(PointFiles([tmp_path], None, True)[0].points) == 0
    assert f"{tmp_path / 'a.bin'}: has no byte, the first of 2 such files" in caplog.text


def test_a_calibration_is_of_clouds_that_are_not_turned(kitti: Path) -> None:
    with pytest.raises(DataError, match=r"000000\.txt: a calibration is for clouds with x forward, .* y_forward"):
        PointFiles([kitti], None, True, settings=PointsConfig(axes="y_forward"))
