"""Writes drives as MCAP files, with clouds as ROS 2 messages and boxes for Foxglove."""

import json
from typing import IO

import numpy as np
from mcap.writer import Writer
from rosbags.typesys import Stores, get_typestore

from mink_pd.data.recordings import foxglove
from mink_pd.data.recordings.pointcloud2 import MESSAGE

_FLOAT32 = 7  # PointField.datatype
_FIELDS = ("x", "y", "z", "intensity")
_SECOND = 1_000_000_000  # [ns]


class DriveWriter:
    """Writes to an open binary file, which is complete after :meth:`finish`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._writer, self._ros2 = Writer(file), get_typestore(Stores.LATEST)
        self._writer.start(profile="ros2", library="mink_pd")
        self._channels: dict[str, int] = {}

    def cloud(self, topic: str, points: np.ndarray, time: int, frame: str) -> None:
        """Write a sensor_msgs/PointCloud2 of x, y, z [m] and intensity, float32 (P, 4), at ``time`` [ns]."""
        if topic not in self._channels:
            definition, _ = self._ros2.generate_msgdef(MESSAGE, ros_version=2)
            self._open(topic, MESSAGE, "ros2msg", definition.encode(), "cdr")
        types, data = self._ros2.types, np.ascontiguousarray(points[:, : len(_FIELDS)], np.float32)
        header = types["std_msgs/msg/Header"](types["builtin_interfaces/msg/Time"](*divmod(time, _SECOND)), frame)
        fields = [types["sensor_msgs/msg/PointField"](n, 4 * i, _FLOAT32, 1) for i, n in enumerate(_FIELDS)]
        step, count = 4 * len(_FIELDS), len(points)
        flat = data.view(np.uint8).reshape(-1)
        message = types[MESSAGE](header, 1, count, fields, False, step, step * count, flat, True)
        self._add(topic, time, bytes(self._ros2.serialize_cdr(message, MESSAGE)))

    def boxes(self, topic: str, boxes: foxglove.Boxes, time: int, stamp: int, frame: str) -> None:
        """Write a foxglove.SceneUpdate, which replaces the previous one on this topic.

        time: when it is shown [ns].
        stamp: time stamp of the cloud [ns].
        frame: the cloud's frame of reference.
        """
        if topic not in self._channels:
            schema = json.dumps(foxglove.SCHEMA).encode()
            self._open(topic, foxglove.SCENE_UPDATE, "jsonschema", schema, "json")
        message = foxglove.scene_update(boxes, stamp, frame)
        self._add(topic, time, json.dumps(message, separators=(",", ":"), allow_nan=False).encode())

    def finish(self) -> None:
        """Write the index at the end of the file."""
        self._writer.finish()

    def _open(self, topic: str, name: str, encoding: str, schema: bytes, message_encoding: str) -> None:
        known = self._writer.register_schema(name, encoding, schema)
        self._channels[topic] = self._writer.register_channel(topic, message_encoding, known)

    def _add(self, topic: str, time: int, data: bytes) -> None:
        self._writer.add_message(self._channels[topic], time, data, time)
