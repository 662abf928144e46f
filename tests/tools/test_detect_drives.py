"""tools/detect.py on drives: recordings of every kind, folders of numbered clouds, raw drives."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from mcap.reader import make_reader
from recording_writers import SECOND, START, as_table, make_points, write_bag1, write_bag2, write_mcap

from mink_pd.data.recordings import Recording

Tool = Callable[..., CompletedProcess]
STAMPS = [START + n * SECOND // 10 for n in range(4)]


def make_cloud(seed: int) -> np.ndarray:
    """A cloud that the tiny detector finds something in: two upright sheets of points."""
    points = make_points(400, seed)
    rng = np.random.default_rng(seed)
    for axis, low, high in (("x", 3, 20), ("y", -8, 8), ("z", -1.5, 0)):
        points[axis] = rng.uniform(low, high, 400)
    return points


CLOUDS = [make_cloud(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same clouds as files 8.bin to 11.bin."""
    folder = tmp_path_factory.mktemp("numbered")
    for number, points in enumerate(CLOUDS, 8):
        as_table(points).tofile(folder / f"{number}.bin")
    return folder


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def detections(rows: list[dict]) -> list[dict]:
    return [{key: row[key] for key in ("boxes", "names", "scores")} for row in rows]


def test_every_kind_of_drive_gives_the_same_lines(teacher: Path, tool: Tool, numbered: Path, tmp_path: Path) -> None:
    done = tool("detect.py", teacher, numbered, "--out", tmp_path / "clouds", "--score", "0.01")
    assert done.returncode == 0, done.stderr
    expected = [json.loads((tmp_path / "clouds" / f"{n}.json").read_text()) for n in (8, 9, 10, 11)]
    assert sum(len(one["boxes"]) for one in expected) > 0
    drives = [
        numbered,
        write_mcap(tmp_path / "drive.mcap", CLOUDS, STAMPS),
        write_mcap(tmp_path / "ros1.mcap", CLOUDS, STAMPS, profile="ros1"),
        write_bag1(tmp_path / "drive.bag", CLOUDS, STAMPS, ["/points"]),
        write_bag2(tmp_path / "drive", CLOUDS, STAMPS),
    ]
    for number, drive in enumerate(drives):
        out = tmp_path / f"{number}.jsonl"
        done = tool("detect.py", teacher, drive, "--out", out, "--score", "0.01")
        assert done.returncode == 0, done.stderr
        rows = read_lines(out)
        assert [row["stamp"] for row in rows] == ([None] * 4 if drive == numbered else STAMPS)
        for row, one in zip(detections(rows), expected, strict=True):
            np.testing.assert_allclose(row["scores"], one["scores"], atol=1e-6)
            np.testing.assert_allclose(row["boxes"], one["boxes"], atol=1e-4)
            assert row["names"] == one["names"]


def test_boxes_for_foxglove_lie_beside_the_clouds(teacher: Path, tool: Tool, numbered: Path, tmp_path: Path) -> None:
    logged = [stamp + 70_000_000 for stamp in STAMPS]
    drive = write_mcap(tmp_path / "drive.mcap", CLOUDS, logged, header_stamps=STAMPS)
    done = tool("detect.py", teacher, drive, "--out", tmp_path, "--mcap", tmp_path / "boxes.mcap", "--score", "0.01")
    assert done.returncode == 0, done.stderr
    assert "/points (4 of sensor_msgs/msg/PointCloud2)" in done.stdout  # topics are listed where none is given
    rows = read_lines(tmp_path / "drive.jsonl")
    with (tmp_path / "boxes.mcap").open("rb") as file:
        messages = list(make_reader(file).iter_messages())
    assert [message.log_time for *_, message in messages] == logged
    for (schema, channel, message), row, stamp in zip(messages, rows, STAMPS, strict=True):
        assert schema is not None
        assert (schema.name, schema.encoding, channel.message_encoding) == (
            "foxglove.SceneUpdate",
            "jsonschema",
            "json",
        )
        scene = json.loads(message.data)
        assert scene["deletions"][0]["type"] == 1  # the boxes of the frame before
        assert len(scene["entities"]) == len(row["boxes"])
        for entity, box in zip(scene["entities"], row["boxes"], strict=True):
            at, pose = entity["timestamp"], entity["cubes"][0]["pose"]
            assert entity["frame_id"] == "lidar"
            assert at["sec"] * SECOND + at["nsec"] == stamp
            assert list(pose["position"].values()) == box[:3]
            assert list(entity["cubes"][0]["size"].values()) == box[3:6]

    done = tool("detect.py", teacher, numbered, "--out", tmp_path / "n.jsonl", "--mcap", tmp_path / "n.mcap")
    assert done.returncode == 0, done.stderr
    with_clouds = Recording(tmp_path / "n.mcap")  # a drive without a recording brings its clouds
    np.testing.assert_array_equal(with_clouds[2].points, as_table(CLOUDS[2]))
    assert with_clouds.stamps == [n * SECOND // 10 for n in range(4)]


@pytest.fixture
def refused(teacher: Path, tool: Tool, tmp_path: Path) -> Callable[..., None]:
    """``refused(..., said="why")``: detection ends in one line, and every file is as before."""

    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def call(*arguments: object, said: str) -> None:
        before = content()
        done = tool("detect.py", teacher, *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
        assert content() == before

    return call


def test_a_drive_without_a_name_is_named_as_its_folder(
    teacher: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_bag2(tmp_path / "drive", CLOUDS, STAMPS))
    assert tool("detect.py", teacher, ".", "--out", tmp_path / "out").returncode == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["drive.jsonl"]


def test_no_output_replaces_what_is_read(refused: Callable[..., None], teacher: Path, tmp_path: Path) -> None:
    bag = write_bag2(tmp_path / "bag", CLOUDS, STAMPS, "mcap")
    clouds = tmp_path / "points"
    clouds.mkdir()
    for number, points in enumerate(CLOUDS):
        as_table(points).tofile(clouds / f"{number}.bin")
    out, link = tmp_path / "out.jsonl", tmp_path / "link.mcap"
    for file in (bag / "bag.mcap", bag / "metadata.yaml"):
        refused(bag, "--out", out, "--mcap", file, "--force", said="detection reads this file")
    refused(clouds, "--out", out, "--mcap", clouds / "1.bin", "--force", said="detection reads this file")
    link.symlink_to(bag / "bag.mcap")
    refused(bag, "--out", out, "--mcap", link, "--force", said="link.mcap: detection reads this file")
    weights = teacher / "checkpoints" / "best.safetensors"
    refused(clouds, "--out", out, "--mcap", weights, "--force", said="detection reads this file")
    refused(clouds, "--out", out, "--mcap", clouds / "new.mcap", said="lies in a folder of the input")
    refused(clouds, "--out", out, "--mcap", out, said="--out and --mcap both name this file")


def test_nothing_is_written_where_something_is_wrong(refused: Callable[..., None], tmp_path: Path) -> None:
    bad = [*CLOUDS[:3], CLOUDS[3].copy()]
    bad[3]["intensity"] *= 200
    drive = write_mcap(tmp_path / "drive.mcap", bad, STAMPS)
    out = tmp_path / "out.jsonl"
    refused(drive, "--out", out, said="message 3 of /points")
    refused(drive, "--topic", "/imu", "--out", out, said="/imu holds sensor_msgs/msg/Imu")
    refused(drive, "--out", drive, "--force", said="drive.mcap")
    refused(drive, drive, "--out", out, said="one recording at a time")
    (tmp_path / "there.jsonl").write_text("")
    refused(drive, "--out", tmp_path / "there.jsonl", said="--force replaces it")
    data = drive.read_bytes()
    drive.write_bytes(data[: len(data) - 100])
    refused(drive, "--out", out, said="cut off after message")
