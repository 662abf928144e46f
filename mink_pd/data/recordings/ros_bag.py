"""ROS bags, read with the ``rosbags`` package: .bag files of ROS 1, and folders, .db3 and .mcap files of ROS 2."""

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2

from mink_pd.data.recordings.container import Stored, Topic, message_type
from mink_pd.errors import DataError
from mink_pd.files import reading

METADATA = "metadata.yaml"  # of a folder of ROS 2


class _Reader2(Reader2):
    """Tells files apart by suffixes in any case: those on a card from Windows may be .DB3."""

    def __init__(self, path: Path) -> None:
        kinds = Reader2.STORAGE_PLUGINS
        if path.suffix.lower() in kinds:
            self.STORAGE_PLUGINS = {**kinds, path.suffix: kinds[path.suffix.lower()]}
        super().__init__(path)


class RosBag:
    """A bag. Messages are ordered by the time of logging."""

    def __init__(self, path: Path) -> None:
        """Open the bag and read its topics. Raises DataError for a bag that is damaged or was never closed."""
        self.path = path
        ros1 = path.suffix.lower() == ".bag"
        self._remedy = "repair it with `rosbag reindex`" if ros1 else "repair it with `ros2 bag reindex`"
        if path.is_dir() and not (path / METADATA).is_file():
            raise DataError(f"{path}: has no {METADATA}; write it with `ros2 bag reindex`, or give the files in it")
        with reading(path, remedy=f"{self._remedy}, or record it again"):
            self._reader: Any = Reader1(path) if ros1 else _Reader2(path)
            self._reader.open()
            self.topics = {
                name: Topic(message_type(info.msgtype or "several types"), "ros1" if ros1 else "cdr", info.msgcount)
                for name, info in self._reader.topics.items()
            }

    def messages(self, topic: str) -> Iterator[Stored]:
        """All messages of a topic."""
        before, number = -1, 0
        for time, data in self._between(topic, None, None):
            number = number + 1 if time == before else 0
            before = time
            yield Stored((time, number), time, data)

    def read(self, topic: str, location: Hashable) -> bytes | memoryview:
        """The message at ``location``, which is its time [ns] and its number among messages of the same time."""
        assert isinstance(location, tuple)
        time, wanted = location
        for number, (_, data) in enumerate(self._between(topic, time, time + 1)):
            if number == wanted:
                return data
        raise DataError(f"{self.path}: the message logged at {time} ns is gone; was the file replaced? Open it again")

    def close(self) -> None:
        """Close the bag."""
        self._reader.close()

    def _between(self, topic: str, start: int | None, stop: int | None) -> Iterator[tuple[int, bytes | memoryview]]:
        connections = [connection for connection in self._reader.connections if connection.topic == topic]
        with reading(self.path, remedy=f"{self._remedy}, or record it again"):
            for _, time, data in self._reader.messages(connections, start, stop):
                yield time, data
