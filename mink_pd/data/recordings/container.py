"""The interface of files of recorded messages, for all formats."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Encoding = Literal["cdr", "ros1"]


@dataclass(frozen=True)
class Topic:
    """A topic of a recording."""

    type: str  # of its messages, such as sensor_msgs/msg/PointCloud2
    encoding: str  # of its messages
    count: int  # number of messages


class Stored(NamedTuple):
    """A recorded message."""

    location: Hashable  # key for :meth:`Container.read`
    time: int  # time of logging [ns]
    data: bytes | memoryview


class Container(Protocol):
    """An open recording. Its methods raise DataError that names the file."""

    topics: dict[str, Topic]

    def messages(self, topic: str) -> Iterator[Stored]:
        """All messages of a topic, in the order of recording."""
        ...

    def read(self, topic: str, location: Hashable) -> bytes | memoryview:
        """One message of a topic."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def message_type(name: str) -> str:
    """The name of a message type in ROS 2: pkg/Name becomes pkg/msg/Name."""
    parts = name.split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else name
