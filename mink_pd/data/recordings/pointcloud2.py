"""ROS's sensor_msgs/PointCloud2 as columns, with fields of any order, type and offset."""

from typing import Any

import numpy as np

from mink_pd.errors import DataError

MESSAGE = "sensor_msgs/msg/PointCloud2"
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}  # PointField.datatype


def to_columns(message: Any, where: str) -> dict[str, np.ndarray]:
    """The fields of a message by name in lower case, each (P,) in its own type, if possible as views of the message.

    Fields of several values per point and padding are left out. An empty message has empty columns x, y and z, whatever
    else it says. Raises DataError, which begins with ``where``, if the sizes in the message contradict each other or
    its data.
    """
    rows, width, step = int(message.height), int(message.width), int(message.point_step)
    if not rows * width and not len(message.data):
        return {name: np.zeros(0, np.float32) for name in "xyz"}
    point = _point_type(message, where)
    missing = [name for name in "xyz" if name not in (point.names or ())]
    if missing:
        found = ", ".join(field.name for field in message.fields) or "no fields"
        raise DataError(f"{where}: lacks {', '.join(missing)} (it has {found}); choose a topic with x, y and z")
    row_step = int(message.row_step) if rows > 1 else width * step  # drivers leave it 0 in clouds of one row
    data = np.frombuffer(message.data, np.uint8)
    needed = (rows - 1) * row_step + width * step if rows and width else 0
    if row_step < width * step or len(data) < needed:
        raise DataError(
            f"{where}: {len(data):,} bytes do not hold {rows} x {width} points of {step} bytes (row_step {row_step});"
            " record it again"
        )
    whole = rows * row_step if rows > 1 and width else needed  # the last row may be padded as well
    if len(data) - whole >= step:
        raise DataError(
            f"{where}: {len(data):,} bytes are more than {rows} x {width} points of {step} bytes"
            f" (row_step {row_step}); record it again"
        )
    table = np.ndarray((rows, width), point, data, strides=(row_step, step)) if needed else np.empty((0, 0), point)
    return {name: table[name].reshape(-1) for name in point.names or ()}


def _point_type(message: Any, where: str) -> np.dtype:
    """The structured type of one point: its single-valued fields at their offsets."""
    order = ">" if message.is_bigendian else "<"
    names, formats, offsets = [], [], []
    for field in message.fields:
        name = field.name.lower()
        if field.count > 1 or name in ("", "_"):  # PCL reads a count of 0 as 1
            continue
        if name in names:
            raise DataError(f"{where}: has two fields named {name}; record it with one of them renamed")
        if field.datatype not in _TYPES:
            raise DataError(f"{where}: field {name} has the unknown datatype {field.datatype}; use 1 to 8")
        kind = np.dtype(order + _TYPES[field.datatype])
        if field.offset + kind.itemsize > message.point_step:
            raise DataError(
                f"{where}: field {name} ends at byte {field.offset + kind.itemsize} of a point of"
                f" {message.point_step} bytes (point_step); record it again"
            )
        names.append(name)
        formats.append(kind)
        offsets.append(int(field.offset))
    layout: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": max(int(message.point_step), 1)}
    return np.dtype(layout)
