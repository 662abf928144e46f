"""Simulated drives of any sensor, read back by others: the recording's own reader, NumPy, shapely."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from shapely import Polygon
from shapely import points as as_points

from mink_pd.config.sensor import SensorConfig, load_sensor
from mink_pd.data import open_dataset
from mink_pd.data.datasets.cloud_folder import CloudsConfig
from mink_pd.data.recordings import Recording
from mink_pd.errors import ConfigError
from mink_pd.simulator.recorded_drives import DriveSettings, parse_classes, simulate_drives

SENSOR = SensorConfig.model_validate(
    {"beams": [{"count": 6, "from": 3, "to": -9, "above": 0.1}, {"angles": [-12.5, -20]}], "height": 2.5, "range": 40}
    | {"azimuth_step": 1.0, "rate": 5}
)
CLASSES = parse_classes(["Lorry=truck", "Lorry2=bus", "car", "Person=pedestrian"])
SETTINGS = DriveSettings(SENSOR, CLASSES, drives=2, scans=4, every=3, val=1, seed=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drives") / "data"
    simulate_drives(out, SETTINGS)
    return out


def read_labels(path: Path) -> tuple[np.ndarray, list[str]]:
    rows = [line.split() for line in path.read_text().splitlines()]
    return np.array([row[:7] for row in rows], float).reshape(-1, 7), [row[7] for row in rows]


def test_files_of_every_drive(data: Path) -> None:
    assert sorted(path.name for path in (data / "drives").iterdir()) == ["000.mcap", "001.mcap"]
    names = {split: (data / "splits" / f"{split}.txt").read_text().split() for split in ("train", "val")}
    assert names["train"] == ["000_0000", "000_0003"]
    assert names["val"] == ["001_0000", "001_0003"]
    for name in names["train"] + names["val"]:
        assert (data / "points" / f"{name}.bin").exists()
        assert (data / "labels" / f"{name}.txt").exists()
    description = yaml.safe_load((data / "dataset.yaml").read_text())
    assert description["columns"] == ["x", "y", "z", "intensity", "ring"]
    assert description["classes"] == ["Lorry", "Lorry2", "car", "Person"]


def test_the_clouds_are_a_data_set(data: Path) -> None:
    config = CloudsConfig(root=data, classes=["Lorry", "car", "Person"], range=(-100, -100, -9, 100, 100, 9))
    frames = open_dataset(config, "train")
    assert frames.ids == ["000_0000", "000_0003"]
    for index, name in enumerate(frames.ids):
        boxes, names = read_labels(data / "labels" / f"{name}.txt")
        np.testing.assert_allclose(frames[index].boxes, boxes, atol=1e-4)
        assert frames[index].names.tolist() == names
        cloud = np.fromfile(data / "points" / f"{name}.bin", "<f4").reshape(-1, 5)
        np.testing.assert_array_equal(frames[index].points, cloud[:, :4])


def test_a_recording_holds_the_labelled_clouds_and_boxes(data: Path) -> None:
    recording = Recording(data / "drives" / "001.mcap", "/points")
    assert np.diff(recording.stamps).tolist() == [200_000_000] * 3  # five turns a second
    with (data / "drives" / "001.mcap").open("rb") as file:
        scenes = [json.loads(message.data) for *_, message in make_reader(file).iter_messages("/labels")]
    for scan in (0, 3):
        cloud = np.fromfile(data / "points" / f"001_{scan:04d}.bin", "<f4").reshape(-1, 5)
        np.testing.assert_array_equal(recording[scan].points, cloud[:, :4])
        boxes, names = read_labels(data / "labels" / f"001_{scan:04d}.txt")
        cubes = [entity["cubes"][0] for entity in scenes[scan]["entities"]]
        np.testing.assert_allclose([list(cube["size"].values()) for cube in cubes], boxes[:, 3:6], atol=1e-4)
        np.testing.assert_allclose([list(c["pose"]["position"].values()) for c in cubes], boxes[:, :3], atol=1e-4)
        turned = [c["pose"]["orientation"] for c in cubes]
        np.testing.assert_allclose([2 * np.arctan2(q["z"], q["w"]) for q in turned], boxes[:, 6], atol=1e-4)
        assert [entity["metadata"][0]["value"] for entity in scenes[scan]["entities"]] == names


def test_points_lie_on_the_beams_and_within_range(data: Path) -> None:
    elevation = np.radians([3, 0.6, -1.8, -4.2, -6.6, -9, -12.5, -20])
    above = np.array([0.1] * 6 + [0.0] * 2)
    for path in (data / "points").iterdir():
        x, y, z, intensity, ring = np.fromfile(path, "<f4").reshape(-1, 5).T
        assert len(x) > 500
        level, ring = np.hypot(x, y), ring.astype(int)
        np.testing.assert_allclose(np.arctan2(z - above[ring], level), elevation[ring], atol=1e-5)
        assert np.hypot(level, z).max() < 40 + 6 * 0.3  # range, and what enters glass and leaves
        assert np.bincount(ring).max() <= 360
        assert ((intensity >= 0) & (intensity < 1)).all()
        lowest = z[(ring == 7) & (level < 8)]  # 20 degrees down, 2.5 m high: the ground 6.9 m away
        assert abs(np.percentile(lowest, 10) + 2.5) < 0.3


def test_labelled_boxes_hold_points_and_stand_apart(data: Path) -> None:
    for path in (data / "labels").iterdir():
        cloud = np.fromfile(data / "points" / f"{path.stem}.bin", "<f4").reshape(-1, 5)
        boxes, names = read_labels(path)
        assert set(names) <= {"Lorry", "Lorry2", "car", "Person"}
        for x, y, z, length, width, height, yaw in boxes:
            cos, sin = np.cos(yaw), np.sin(yaw)
            corner = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2 * (length, width)
            shape = Polygon(corner @ np.array([[cos, sin], [-sin, cos]]) + (x, y)).buffer(1e-3)
            within = shape.contains(as_points(cloud[:, 0], cloud[:, 1])) & (np.abs(cloud[:, 2] - z) < height / 2 + 1e-3)
            assert within.any()


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_processes(data: Path, tmp_path: Path) -> None:
    simulate_drives(tmp_path / "again", SETTINGS, workers=2)
    files = [path.relative_to(data) for path in sorted(data.rglob("*")) if path.is_file()]
    assert len(files) == 2 + 2 * 4 + 2 + 2
    assert all((data / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    assert simulate_drives(data, SETTINGS) is None  # there already


@pytest.mark.parametrize(
    ("name", "beams", "lowest"), [("hdl64e", 64, -24.9), ("vlp32c", 32, -25), ("os1_128", 128, -21.2)]
)
def test_shipped_sensors(name: str, beams: int, lowest: float) -> None:
    degrees = np.degrees(load_sensor(name).elevations())
    assert len(set(degrees.round(6))) == beams
    assert degrees.min() == pytest.approx(lowest)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("beams: [{count: 3, from: 1, to: -1}]\nheigth: 2\nrange: 50\nazimuth_step: 0.2\n", "'heigth'"),
        ("beams: [{count: 3, from: 1}]\nheight: 2\nrange: 50\nazimuth_step: 0.2\n", "give either angles"),
        (
            "beams: [{count: 3, from: 1, to: 0, angles: [1]}]\nheight: 2\nrange: 50\nazimuth_step: 0.2\n",
            "either angles",
        ),
        ("beams: []\nheight: 2\nrange: 50\nazimuth_step: 0.2\n", "'beams'"),
        ("beams: [{angles: [95]}]\nheight: 2\nrange: 50\nazimuth_step: 0.2\n", "'beams.0.angles.0'"),
        ("beams: [{angles: [1]}]\nheight: -2\nrange: 50\nazimuth_step: 0.2\n", "'height'"),
        ("3\n", "the file"),
    ],
)
def test_a_bad_sensor_file_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"^{path}: .*{said}") as error:
        load_sensor(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("words", [["tram"], ["A=tram"], ["a b=car"], ["=car"], ["A=car", "B=car"]])
def test_bad_classes_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="--classes"):
        parse_classes(words)
