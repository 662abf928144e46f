"""Small recordings, written by the packages' own writers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_typestore

ROS1, ROS2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.LATEST)
CLOUD, IMU = "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/Imu"
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND  # [ns]


def cloud_message(store: Any, points: np.ndarray, stamp: int, rows: int = 1, frame: str = "lidar") -> Any:
    """A structured array of points (P,) as a PointCloud2, field by field as its type lies in memory."""
    types = {np.dtype(name): code for code, name in enumerate(("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"), 1)}
    assert points.dtype.fields is not None
    fields = [
        store.types["sensor_msgs/msg/PointField"](name, offset, types[kind.newbyteorder("=")], 1)
        for name, (kind, offset, *_) in points.dtype.fields.items()
    ]
    big = any(kind.byteorder == ">" for kind, *_ in points.dtype.fields.values())
    data = np.frombuffer(points.tobytes(), np.uint8)
    step = points.dtype.itemsize
    width = len(points) // rows
    return store.types[CLOUD](header(store, stamp, frame), rows, width, fields, big, step, step * width, data, True)


def header(store: Any, stamp: int, frame: str = "lidar") -> Any:
    """A std_msgs/Header with a stamp [ns] and a frame of reference."""
    time = store.types["builtin_interfaces/msg/Time"](stamp // SECOND, stamp % SECOND)
    first = {"seq": 0} if store is ROS1 else {}
    return store.types["std_msgs/msg/Header"](**first, stamp=time, frame_id=frame)


def make_points(count: int, seed: int = 0) -> np.ndarray:
    """Points (P,) as Velodyne's driver writes them: x, y, z, intensity, ring, time."""
    rng = np.random.default_rng(seed)
    kinds = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<u2"), ("time", "<f4")]
    points = np.zeros(count, kinds)
    for name, spread in (("x", 30), ("y", 30), ("z", 1)):
        points[name] = rng.normal(0, spread, count)
    points["intensity"] = rng.random(count)
    points["ring"] = rng.integers(0, 32, count)
    return points


def as_table(points: np.ndarray) -> np.ndarray:
    """x, y, z, intensity of :func:`make_points`, float32 (P, 4)."""
    return np.stack([points[name] for name in ("x", "y", "z", "intensity")], axis=1).astype(np.float32)


def write_mcap(
    path: Path,
    clouds: Sequence[np.ndarray],
    stamps: Sequence[int],
    topic: str = "/points",
    profile: str = "ros2",
    header_stamps: Sequence[int] | None = None,
    frames: Sequence[str] | None = None,
    **options: Any,
) -> Path:
    """An MCAP file of clouds logged at ``stamps`` [ns], with a topic of another type between them."""
    ros1 = profile == "ros1"
    store = ROS1 if ros1 else ROS2
    options = {"chunk_size": 100_000, "compression": CompressionType.ZSTD, **options}
    with path.open("wb") as file:
        writer = McapWriter(file, **options)
        writer.start(profile=profile)
        channels = {}
        for name, type in ((topic, CLOUD), ("/imu", IMU)):
            short = type.replace("/msg/", "/") if ros1 else type
            schema = writer.register_schema(short, "ros1msg" if ros1 else "ros2msg", b"")
            channels[name] = writer.register_channel(name, "ros1" if ros1 else "cdr", schema)
        frames = frames or ["lidar"] * len(clouds)
        for points, time, stamp, frame in zip(clouds, stamps, header_stamps or stamps, frames, strict=True):
            message = cloud_message(store, points, stamp, frame=frame)
            data = bytes(store.serialize_ros1(message, CLOUD) if ros1 else store.serialize_cdr(message, CLOUD))
            writer.add_message(channels[topic], time, data, time)
            writer.add_message(channels["/imu"], time, b"not looked at", time)
        writer.finish()
    return path


def write_bag1(path: Path, clouds: Sequence[np.ndarray], stamps: Sequence[int], topics: Sequence[str]) -> Path:
    """A .bag file of ROS 1 with the same clouds on each topic."""
    with Writer1(path) as writer:
        for topic in topics:
            connection = writer.add_connection(topic, CLOUD, typestore=ROS1)
            for points, stamp in zip(clouds, stamps, strict=True):
                message = cloud_message(ROS1, points, stamp)
                writer.write(connection, stamp, ROS1.serialize_ros1(message, CLOUD))
    return path


def write_bag2(path: Path, clouds: Sequence[np.ndarray], stamps: Sequence[int], storage: str = "sqlite3") -> Path:
    """A folder of ROS 2 with one topic, /points."""
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    with Writer2(path, version=9, storage_plugin=plugin) as writer:
        connection = writer.add_connection("/points", CLOUD, typestore=ROS2)
        for points, stamp in zip(clouds, stamps, strict=True):
            writer.write(connection, stamp, ROS2.serialize_cdr(cloud_message(ROS2, points, stamp), CLOUD))
    return path
