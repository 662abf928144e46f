"""A sensor whose files are not x forward: what a detector sees, and the frame in which its boxes are reported."""

import json
import logging
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from cloud_folders import write_folder
from mcap.reader import make_reader
from point_files import surroundings
from recording_writers import START, make_points, write_mcap
from stand_in import MeanDetector

from mink_pd.commands.input_clouds import open_frames, recorded_as
from mink_pd.config import Config
from mink_pd.config.points import PointsConfig
from mink_pd.data import open_dataset
from mink_pd.data.frame import Frames
from mink_pd.data.loading.unlabelled import UnlabelledFrames
from mink_pd.detect.bulk import Bulk
from mink_pd.detect.file_frame import in_file_frame, in_lidar_frame
from mink_pd.detect.predict import FrameDetections, detect_frame
from mink_pd.detect.sequences import Drive, Outputs, detect_drive
from mink_pd.errors import ConfigError
from mink_pd.evaluate.detection_files import read_detections
from mink_pd.evaluate.scorers.clouds import CloudsScorer
from mink_pd.export.frames import proof_frames
from mink_pd.models import Detector
from mink_pd.train.unlabelled import open_source

LABEL = (3.0, 12.0, -1.0, 3.9, 1.6, 1.5, 2.0)  # x right, y forward
SAID = {"intensity": 1, "axes": "y_forward", "classes": ["Car"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of one labelled cloud in the sensor's axes, x right and y forward."""
    return write_folder(tmp_path / "own", {"a": (surroundings(), np.array([LABEL]), ["Car"])}, **SAID)


def config(root: Path, **data: object) -> Config:
    return Config.model_validate(
        {"data": {"kind": "clouds", "root": str(root), "workers": 0, "classes": ["Car"]} | data}
    )


def opened(config: Config, *inputs: Path, **given: object) -> Frames:
    """The frames of a command line."""
    options = {"inputs": list(inputs), "raw": None, "split": None, "data": None, "calib": None, "topic": None}
    namespace = Namespace(**options | {"all_around": False} | given)
    return open_frames(namespace, recorded_as(namespace, config.data))


def recorded(path: Path) -> Path:
    """The cloud as a recording of the same sensor."""
    rows = make_points(2000)
    for column, name in enumerate(("x", "y", "z", "intensity")):
        rows[name] = surroundings()[:, column]
    return write_mcap(path, [rows], [START])


def detector(config: Config) -> Detector:
    """It finds one box, which depends on the points, in the LiDAR frame."""
    torch.manual_seed(0)
    found = MeanDetector(config).eval()
    found.layers[-1].bias.data[3:6] += 3
    return found


def turned(boxes: np.ndarray) -> np.ndarray:
    """Boxes (B, 7) with x forward as x right, y forward; the yaw from 0 along the new x."""
    x, y, z, length, width, height, yaw = np.asarray(boxes, np.float64).T
    return np.stack([-y, x, z, length, width, height, yaw + np.pi / 2], 1)


def test_a_cloud_is_seen_alike_wherever_it_is_read_from(root: Path, tmp_path: Path) -> None:
    own = config(root)
    expected = surroundings()[:, [1, 0, 2, 3]] * [1, -1, 1, 1]
    sources = {
        "split": opened(own, split="all"),
        "file": opened(own, root / "points" / "a.bin"),
        "folder": opened(own, root / "points"),
        "recording": opened(own, recorded(tmp_path / "drive.mcap"), topic="/points"),
        "unlabelled": open_source(str(root / "points"), own.data),
        "export": proof_frames([root / "points" / "a.bin"], own.data),
    }
    for name, frames in sources.items():
        np.testing.assert_allclose(frames[0].points, expected, atol=1e-5, err_msg=name)
    straight = opened(own, root / "points", axes="x_forward")  # files of another origin
    np.testing.assert_array_equal(straight[0].points, surroundings())


def test_axes_are_stored_and_must_agree_with_dataset_yaml(
    root: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    own = config(root)
    assert own.data.axes == "y_forward"
    assert own.model_dump(mode="json")["data"]["axes"] == "y_forward"
    with pytest.raises(ConfigError, match=r"'data\.axes': is x_forward here and y_forward in .*dataset\.yaml"):
        open_dataset(config(root, axes="x_forward").data, "all")
    earlier = own.data.model_dump(mode="json", exclude={"axes"})  # as stored before axes was a setting
    assert type(own.data).model_validate(earlier).axes == "y_forward"
    with caplog.at_level(logging.WARNING):
        moved = type(own.data).model_validate(earlier | {"root": str(tmp_path / "gone")})
    assert moved.axes == "x_forward"
    assert "data.axes: not stored" in caplog.text
    with pytest.raises(ValueError, match=r"data\.axes is for clouds without poses"):
        Config.model_validate({"data": {"kind": "nuscenes", "axes": "y_forward"}})


def test_another_folder_is_read_as_its_own_description_says(root: Path, tmp_path: Path) -> None:
    own, frame = config(root), {"a": (surroundings() * [1, 1, 1, 255], np.array([LABEL]), ["Car"])}
    other = write_folder(tmp_path / "other", frame, **SAID | {"intensity": 255, "axes": "x_forward"})
    straight = opened(own, split="all", data=other, intensity=255.0, axes="x_forward")
    np.testing.assert_allclose(straight[0].points, surroundings(), atol=1e-5)
    np.testing.assert_array_equal(opened(own, split="all", data=other)[0].points, straight[0].points)
    read = recorded_as(Namespace(split="all", data=other, all_around=False), own.data)  # what detect.yaml records
    assert (read.intensity, read.axes, read.classes) == (255, "x_forward", ["Car"])
    with pytest.raises(ConfigError, match=r"'data\.axes': is y_forward here and x_forward in .*other/dataset\.yaml"):
        opened(own, split="all", data=other, axes="y_forward")
    with pytest.raises(ConfigError, match=r"'data\.intensity': is 1\.0 here and 255\.0 in .*other/dataset\.yaml"):
        opened(own, split="all", data=other, intensity=1.0)


def test_boxes_are_written_in_the_frame_of_the_file(root: Path, tmp_path: Path) -> None:
    own = config(root)
    net = detector(own)
    expected = turned(detect_frame(net, open_dataset(own.data, "all")[0], own).boxes)
    for name, frames in {"split": opened(own, split="all"), "files": opened(own, root / "points")}.items():
        bulk = Bulk(frames, tmp_path / name, {})
        bulk.open(force=False)
        list(bulk.detect(net, own))
        rows = json.loads((tmp_path / name / "a.json").read_text())
        np.testing.assert_allclose(np.exp(1j * np.array(rows["boxes"])), np.exp(1j * expected), atol=1e-4)
        np.testing.assert_allclose(np.array(rows["boxes"])[:, :6], expected[:, :6], atol=1e-4)
    drive = Drive.of(opened(own, recorded(tmp_path / "drive.mcap"), topic="/points"))
    outputs = Outputs(tmp_path / "drive.jsonl", tmp_path / "boxes.mcap", {"Car": (1.0, 0.0, 0.0)})
    detect_drive(net, own, drive, outputs, lambda: None)
    line = json.loads(outputs.lines.read_text())
    np.testing.assert_allclose(np.array(line["boxes"])[:, :6], expected[:, :6], atol=1e-4)
    with (tmp_path / "boxes.mcap").open("rb") as file:
        scene = json.loads(next(make_reader(file).iter_messages())[2].data)
    assert list(scene["entities"][0]["cubes"][0]["pose"]["position"].values()) == pytest.approx(
        expected[0, :3], abs=1e-4
    )


def test_detections_are_read_in_the_frame_of_the_file(root: Path, tmp_path: Path) -> None:
    own = config(root)
    frame = open_dataset(own.data, "all")[0]
    perfect = FrameDetections(frame.boxes, frame.names, np.ones(1, np.float32))
    scorer = CloudsScorer({"Car": 0.7}, min_points=0)
    scorer.write(tmp_path / "found", {"a": scorer.keep(frame, perfect)})
    read = read_detections(tmp_path / "found", ["a"])
    np.testing.assert_allclose(read["a"].boxes, [LABEL], atol=1e-5)  # as in the label file
    kept = scorer.read(tmp_path / "found", [frame])["a"]
    np.testing.assert_allclose(kept.found, frame.boxes, atol=1e-5)
    frames = UnlabelledFrames([opened(own, root / "points")])
    frames.give_boxes(read)
    np.testing.assert_allclose(frames[0].boxes, frame.boxes, atol=1e-5)


def test_units_and_velocities_of_a_file_frame_and_back() -> None:
    matrix = np.diag([0.001, 0.001, 0.001, 1]) @ np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 500], [0, 0, 0, 1]])
    boxes = np.array([[10, 2, -1, 4, 2, 1.5, 0.3]], np.float32)
    found = FrameDetections(boxes, np.array(["Car"]), np.ones(1), np.array([[3.0, 1.0]], np.float32))
    to_lidar = PointsConfig(axes=matrix.tolist()).to_lidar
    written = in_file_frame(found, to_lidar)
    np.testing.assert_allclose(written.boxes, [[-2000, 10000, -1500, 4000, 2000, 1500, 0.3 + np.pi / 2]], rtol=1e-5)
    assert written.velocities is not None
    np.testing.assert_allclose(written.velocities, [[-1000, 3000]], rtol=1e-5)
    back = in_lidar_frame(written, to_lidar)
    np.testing.assert_allclose(back.boxes, boxes, rtol=1e-5)
    np.testing.assert_allclose(back.velocities, found.velocities, rtol=1e-5)  # type: ignore[arg-type]
