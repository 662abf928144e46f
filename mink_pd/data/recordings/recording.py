"""The clouds of one topic of a recorded drive, as frames."""

from collections.abc import Hashable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore

from mink_pd.config.points import PointsConfig
from mink_pd.data.frame import Frame
from mink_pd.data.points import Cloud, make_cloud, with_columns
from mink_pd.data.recordings.container import Container, Topic
from mink_pd.data.recordings.mcap_file import McapFile
from mink_pd.data.recordings.pointcloud2 import MESSAGE, to_columns
from mink_pd.data.recordings.ros_bag import METADATA, RosBag
from mink_pd.data.stamps import check_order
from mink_pd.errors import DataError
from mink_pd.files import reading

SUFFIXES = (".mcap", ".bag", ".db3")
_DEFAULT = PointsConfig()
_CUT = "cut the recording there, or sort it by time"


@cache
def _types(store: Stores) -> Any:
    """The message types of a release of ROS, cached because their creation takes a tenth of a second."""
    return get_typestore(store)


def is_recording(path: Path) -> bool:
    """Whether ``path`` is a recording by its name: a .mcap, .bag or .db3 file, or a folder that ROS 2 has written."""
    return path.suffix.lower() in SUFFIXES or (path / METADATA).is_file() or _storage(path) is not None


def _storage(path: Path) -> Path | None:
    """The first recording in a folder that lacks its metadata."""
    return next((file for file in sorted(path.iterdir()) if file.suffix in SUFFIXES), None) if path.is_dir() else None


def open_container(path: Path) -> Container:
    """The container of a recording. Raises DataError that names the file."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give a recording ({', '.join(SUFFIXES)}, or a ROS 2 folder)")
    if not is_recording(path):
        raise DataError(f"{path}: is no recording; give {', '.join(SUFFIXES)} files, or a folder written by ROS 2")
    return McapFile(path) if path.suffix.lower() == ".mcap" and path.is_file() else RosBag(path)


def describe(topics: dict[str, Topic]) -> str:
    """The topics of a recording in one line, those of clouds first."""
    order = sorted(topics, key=lambda name: (topics[name].type != MESSAGE, name))
    return ", ".join(f"{name} ({topics[name].count} of {topics[name].type})" for name in order) or "none"


class Recording:
    """The clouds of a topic as frames without boxes. ids are the messages' numbers, from 000000.

    stamps: of each message's header [ns], where that is set, else when it was logged; logged: when it was logged [ns].
    frame_id: the frame of reference of all clouds; empty if none names it.
    """

    def __init__(
        self, path: str | Path, topic: str | None = None, settings: PointsConfig = _DEFAULT, columns: int = 4
    ) -> None:
        """Open a recording and check all messages of the topic.

        topic: None for the only one that holds clouds. columns: of a point that the detector sees.
        Raises DataError: no such topic or no clouds in it, several topics where none was chosen, a file or message that
        is damaged or ends too early, time stamps that run backwards, several frames of reference.
        """
        self.path, self.settings, self.columns = Path(path), settings, columns
        self._container = open_container(self.path)
        try:
            self.topic = _choose(self.path, self._container.topics, topic)
            self.frame_id = ""
            self._locations, self.logged, self.stamps = self._look_through()
        except BaseException:
            self.close()
            raise
        self.ids = [f"{number:06d}" for number in range(len(self._locations))]

    @property
    def topics(self) -> dict[str, Topic]:
        """All topics of the recording."""
        return self._container.topics

    def __len__(self) -> int:
        return len(self._locations)

    def __getitem__(self, index: int) -> Frame:
        """Read cloud ``index``. Raises DataError that names the message."""
        data = self._container.read(self.topic, self._locations[index])
        return self._frame(index, data)

    def paths(self, index: int) -> list[Path]:
        """The whole recording."""
        return [self.path]

    def __iter__(self) -> Iterator[Frame]:
        for index, stored in enumerate(self._container.messages(self.topic)):
            yield self._frame(index, stored.data)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _where(self, index: int) -> str:
        return f"{self.path}: message {index} of {self.topic}"

    def _decode(self, index: int, data: bytes | memoryview) -> Any:
        with reading(self._where(index), remedy="record it again"):
            if self.topics[self.topic].encoding == "ros1":
                return _types(Stores.ROS1_NOETIC).deserialize_ros1(data, MESSAGE)
            return _types(Stores.LATEST).deserialize_cdr(data, MESSAGE)

    def _frame(self, index: int, data: bytes | memoryview) -> Frame:
        where = self._where(index)
        columns = to_columns(self._decode(index, data), where)
        if len(columns["x"]):  # a sensor that starts, or is covered, gives turns without a return
            cloud = make_cloud(where, columns, self.settings, may_lack_points=True)
        else:
            cloud = Cloud(np.zeros((0, 4), np.float32), 0)
        points = with_columns(cloud.points, self.columns)
        return Frame(self.ids[index], points, dropped=cloud.dropped, to_lidar=self.settings.to_lidar)

    def _look_through(self) -> tuple[list[Hashable], list[int], list[int]]:
        """For each message its location in the container, the time of logging and the time stamp [ns]."""
        locations, logged, stamps = list[Hashable](), list[int](), list[int]()
        for index, stored in enumerate(self._container.messages(self.topic)):
            message = self._decode(index, stored.data)
            to_columns(message, self._where(index))
            self._check_frame(index, message.header.frame_id)
            locations.append(stored.location)
            logged.append(stored.time)
            stamps.append(message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec)
        if not locations:
            raise DataError(f"{self.path}: {self.topic} holds no message; its topics: {describe(self.topics)}")
        check_order(logged, self._where, "message", _CUT)
        if any(stamps):
            check_order(stamps, self._where, "message", _CUT)
        return locations, logged, stamps if any(stamps) else logged

    def _check_frame(self, index: int, frame_id: str) -> None:
        if self.frame_id and frame_id and frame_id != self.frame_id:
            raise DataError(
                f"{self._where(index)}: is in the frame '{frame_id}', and those before it are in '{self.frame_id}';"
                " record clouds of one frame_id per topic"
            )
        self.frame_id = self.frame_id or frame_id


def _choose(path: Path, topics: dict[str, Topic], wanted: str | None) -> str:
    """The topic to read. Raises DataError, which lists the topics, where it cannot be read or chosen."""
    clouds = [name for name, topic in topics.items() if topic.type == MESSAGE]
    listing = f"its topics: {describe(topics)}"
    if wanted is None:
        if not clouds:
            raise DataError(f"{path}: holds no sensor_msgs/PointCloud2; {listing}")
        if len(clouds) > 1:
            raise DataError(
                f"{path}: holds clouds on {len(clouds)} topics; choose one with --topic, or distill.unlabelled.topic;"
                f" {listing}"
            )
        wanted = clouds[0]
    if wanted not in topics:
        raise DataError(f"{path}: has no topic {wanted}; {listing}")
    if wanted not in clouds:
        raise DataError(f"{path}: {wanted} holds {topics[wanted].type}, not sensor_msgs/PointCloud2; {listing}")
    if topics[wanted].encoding not in ("cdr", "ros1"):
        raise DataError(f"{path}: {wanted} is encoded in {topics[wanted].encoding}; record it as cdr (ROS 2) or ros1")
    return wanted
