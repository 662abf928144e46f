"""What a file of recorded messages offers, whatever its format."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Encoding = Literal["cdr", "ros1"]


@dataclass(frozen=True)
class Topic:
    """A topic's message type, such as sensor_msgs/msg/PointCloud2, its encoding (of a kind that nobody reads: another
    word) and its number of messages."""

    type: str
    encoding: str
    count: int


class Stored(NamedTuple):
    """A message as it was recorded. place: what :meth:`Container.read` finds it by; time: when it was logged [ns]."""

    place: Hashable
    time: int
    data: bytes | memoryview


class Container(Protocol):
    """A recording that is open. Its methods raise DataError naming the file."""

    topics: dict[str, Topic]

    def messages(self, topic: str) -> Iterator[Stored]:
        """Every message of a topic, in the order in which they were recorded."""
        ...

    def read(self, topic: str, place: Hashable) -> bytes | memoryview:
        """One message of a topic."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def message_type(name: str) -> str:
    """A type's name as ROS 2 has it: pkg/Name becomes pkg/msg/Name."""
    parts = name.split("/")
    return f"{parts[0]}/msg/{parts[1]}" if len(parts) == 2 else name
