"""Recordings against what the packages' own writers put into them."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from recording_writers import SECOND, START, as_table, make_points, write_bag1, write_bag2, write_mcap

from mink_pd.config.points import PointsConfig
from mink_pd.data.recordings import Recording, is_recording
from mink_pd.errors import DataError

CLOUDS = [make_points(500 + 10 * n, seed=n) for n in range(6)]
STAMPS = [START + n * SECOND // 10 for n in range(6)]
KINDS: dict[str, Callable[[Path], Path]] = {
    "mcap": lambda folder: write_mcap(folder / "drive.mcap", CLOUDS, STAMPS),
    "mcap of ROS 1": lambda folder: write_mcap(folder / "drive.mcap", CLOUDS, STAMPS, profile="ros1"),
    "mcap, lz4": lambda folder: write_mcap(folder / "d.mcap", CLOUDS, STAMPS, compression=CompressionType.LZ4),
    "mcap, plain": lambda folder: write_mcap(folder / "d.mcap", CLOUDS, STAMPS, compression=CompressionType.NONE),
    "mcap without chunks": lambda folder: write_mcap(folder / "drive.mcap", CLOUDS, STAMPS, use_chunking=False),
    "mcap without index": lambda folder: write_mcap(
        folder / "drive.mcap", CLOUDS, STAMPS, use_statistics=False, use_summary_offsets=False
    ),
    "bag": lambda folder: write_bag1(folder / "drive.bag", CLOUDS, STAMPS, ["/points"]),
    "BAG": lambda folder: write_bag1(folder / "DRIVE.BAG", CLOUDS, STAMPS, ["/points"]),
    "folder of db3": lambda folder: write_bag2(folder / "drive", CLOUDS, STAMPS),
    "folder of mcap": lambda folder: write_bag2(folder / "drive", CLOUDS, STAMPS, "mcap"),
    "db3": lambda folder: next(write_bag2(folder / "drive", CLOUDS, STAMPS).glob("*.db3")),
    "DB3": lambda folder: KINDS["db3"](folder).rename(folder / "DRIVE.DB3"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_clouds_and_stamps_of_every_kind(kind: str, tmp_path: Path) -> None:
    path = KINDS[kind](tmp_path)
    assert is_recording(path)
    recording = Recording(path, "/points")
    assert recording.ids == [f"{n:06d}" for n in range(6)]
    assert recording.stamps == STAMPS
    for index in (3, 0, 5, 4):  # in any order
        np.testing.assert_array_equal(recording[index].points, as_table(CLOUDS[index]))
    for frame, points in zip(recording, CLOUDS, strict=True):  # and one after the other
        np.testing.assert_array_equal(frame.points, as_table(points))


def test_a_single_topic_of_clouds_need_not_be_named(tmp_path: Path) -> None:
    recording = Recording(write_mcap(tmp_path / "drive.mcap", CLOUDS, STAMPS))
    assert recording.topic == "/points"
    assert recording.topics["/imu"].count == 6


def test_messages_logged_at_the_same_time_are_told_apart(tmp_path: Path) -> None:
    for path in (
        write_mcap(tmp_path / "drive.mcap", CLOUDS, [START] * 6),
        write_bag2(tmp_path / "drive", CLOUDS, [START] * 6),
        write_bag1(tmp_path / "drive.bag", CLOUDS, [START] * 6, ["/points"]),
    ):
        recording = Recording(path)
        for index in (4, 1):
            np.testing.assert_array_equal(recording[index].points, as_table(CLOUDS[index]))


def test_no_return_and_intensity_follow_the_settings(tmp_path: Path) -> None:
    points = make_points(300)
    points["x"][:10] = np.nan
    points["intensity"] = np.floor(points["intensity"] * 255)
    path = write_mcap(tmp_path / "drive.mcap", [points], [START])
    with pytest.raises(DataError, match=r"message 0 of /points: .* set data.intensity=255"):
        Recording(path)[0]
    recording = Recording(path, settings=PointsConfig(intensity=255))
    expected = as_table(points)[10:]
    expected[:, 3] /= 255
    np.testing.assert_array_equal(recording[0].points, expected)
    assert recording[0].dropped == 10
    assert (Recording(path, settings=PointsConfig(intensity="none"))[0].points[:, 3] == 0).all()


def test_turns_without_a_return_are_empty_frames(tmp_path: Path) -> None:
    lost = make_points(7)
    lost["x"] = [np.nan, np.inf, 0, 0, 0, 0, 0]
    lost["y"][2:] = lost["z"][2:] = 0
    clouds = [CLOUDS[0], lost, lost[:0], CLOUDS[3]]
    recording = Recording(write_mcap(tmp_path / "drive.mcap", clouds, STAMPS[:4]))
    assert [len(frame.points) for frame in recording] == [500, 0, 0, 530]
    assert [recording[index].dropped for index in range(4)] == [0, 7, 0, 0]
    assert recording[1].points.shape == (0, 4)


@pytest.mark.parametrize("chunk_size", [1, 20_000])
def test_messages_outside_chunks_are_read_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_size: int
) -> None:
    add = McapWriter.add_message

    def outside(self: McapWriter, channel_id: int, log_time: int, *rest: object) -> None:
        name = "_Writer__chunk_builder"
        builder = getattr(self, name)
        if log_time == STAMPS[2]:
            setattr(self, name, None)
        add(self, channel_id, log_time, *rest)
        setattr(self, name, builder)

    monkeypatch.setattr(McapWriter, "add_message", outside)
    recording = Recording(write_mcap(tmp_path / "drive.mcap", CLOUDS, STAMPS, chunk_size=chunk_size), "/points")
    assert recording.topics["/points"].count == len(recording) == 6
    for index in (2, 5, 0):
        np.testing.assert_array_equal(recording[index].points, as_table(CLOUDS[index]))


def test_columns_that_a_cloud_lacks_are_zero(tmp_path: Path) -> None:
    recording = Recording(write_mcap(tmp_path / "drive.mcap", CLOUDS[:1], STAMPS[:1]), columns=5)
    assert recording[0].points.shape == (500, 5)
    assert (recording[0].points[:, 4] == 0).all()


def test_headers_without_stamps_take_the_time_of_logging(tmp_path: Path) -> None:
    path = write_mcap(tmp_path / "drive.mcap", CLOUDS, STAMPS, header_stamps=[0] * 6)
    assert Recording(path).stamps == STAMPS


def test_a_topic_has_one_frame_of_reference(tmp_path: Path) -> None:
    frames = ["", "lidar", "lidar", "", "lidar", "lidar"]  # drivers leave it empty at times
    assert Recording(write_mcap(tmp_path / "a.mcap", CLOUDS, STAMPS, frames=frames)).frame_id == "lidar"
    frames[4] = "base_link"
    text = refused(write_mcap(tmp_path / "b.mcap", CLOUDS, STAMPS, frames=frames))
    assert "message 4 of /points: is in the frame 'base_link', and those before it are in 'lidar'" in text


def refused(path: Path, topic: str | None = None) -> str:
    """The one line with which a recording is refused; it names the file."""
    with pytest.raises(DataError) as error:
        Recording(path, topic)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


def test_topics_are_listed_where_the_choice_is_not_clear(tmp_path: Path) -> None:
    two = write_bag1(tmp_path / "two.bag", CLOUDS, STAMPS, ["/front", "/rear"])
    assert "/front (6 of sensor_msgs/msg/PointCloud2), /rear (6 of" in refused(two)
    one = write_mcap(tmp_path / "one.mcap", CLOUDS, STAMPS)
    assert "has no topic /lidar; its topics: /points (6" in refused(one, "/lidar")
    assert "/imu holds sensor_msgs/msg/Imu, not sensor_msgs/PointCloud2" in refused(one, "/imu")
    assert "/points holds no message" in refused(write_mcap(tmp_path / "none.mcap", [], []), "/points")


@pytest.mark.parametrize("header", [True, False])
def test_time_that_runs_backwards_is_refused(tmp_path: Path, header: bool) -> None:
    times = [*STAMPS[:4], STAMPS[1], STAMPS[5]]
    path = write_mcap(tmp_path / "d.mcap", CLOUDS, STAMPS if header else times, header_stamps=times if header else None)
    assert "message 4 of /points: its time stamp is 0.200 s before" in refused(path)


@pytest.mark.parametrize("use_chunking", [True, False])
def test_a_recording_that_was_cut_off_says_after_which_message(tmp_path: Path, use_chunking: bool) -> None:
    whole = write_mcap(tmp_path / "whole.mcap", CLOUDS, STAMPS, chunk_size=20_000, use_chunking=use_chunking)
    data = whole.read_bytes()
    cut = tmp_path / "cut.mcap"
    for share in (0.5, 0.9, 1.0):
        cut.write_bytes(data[: int(len(data) * share) - 20])
        said = refused(cut)
        assert "cut off after message" in said
        assert "mcap recover" in said


@pytest.mark.parametrize("kind", ["mcap", "bag", "db3", "folder of mcap"])
def test_damaged_files_are_one_line(kind: str, tmp_path: Path) -> None:
    path = KINDS[kind](tmp_path)
    file = next(path.glob("*.mcap")) if path.is_dir() else path
    data = file.read_bytes()
    rng = np.random.default_rng(0)
    for size in (0, 3, 20, 500, len(data) // 2, len(data) - 9):
        file.write_bytes(data[:size])
        assert str(path) in refused(path)
    for _ in range(30):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[rng.integers(0, len(data), 40)] = rng.integers(0, 256, 40)
        file.write_bytes(damaged.tobytes())
        with contextlib.suppress(DataError):  # anything else fails
            for frame in Recording(path, "/points"):
                assert np.isfinite(frame.points).all()


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.mcap")
    (tmp_path / "text.mcap").write_text("not a recording, but long enough for one")
    assert "is no MCAP file" in refused(tmp_path / "text.mcap")
    (tmp_path / "text.bag").write_text("not a bag")
    assert "text.bag" in refused(tmp_path / "text.bag")
    folder = write_bag2(tmp_path / "drive", CLOUDS, STAMPS)
    (folder / "metadata.yaml").unlink()
    assert "ros2 bag reindex" in refused(folder)
