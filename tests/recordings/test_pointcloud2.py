"""PointCloud2 against the standard library's struct, value by value."""

import itertools
import struct
from types import SimpleNamespace

import numpy as np
import pytest

from mink_pd.data.recordings.pointcloud2 import to_columns
from mink_pd.errors import DataError

CODES = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 8: "d"}  # datatype -> struct


def field(name: str, offset: int, datatype: int, count: int = 1) -> SimpleNamespace:
    return SimpleNamespace(name=name, offset=offset, datatype=datatype, count=count)


def packed(rows, width, fields, big=False, step=None, row_step=None, seed=0):
    """A message packed by struct, and its values by field name, each a list of rows * width numbers."""
    rng = np.random.default_rng(seed)
    step = step or max(f.offset + struct.calcsize(CODES[f.datatype]) * max(f.count, 1) for f in fields)
    row_step = row_step or step * width
    data = bytearray(rng.integers(0, 256, row_step * rows, dtype=np.uint8).tobytes())  # padding is not zero
    values: dict[str, list[float]] = {f.name.lower(): [] for f in fields}
    for row, column in itertools.product(range(rows), range(width)):
        for f in fields:
            whole = CODES[f.datatype] not in "fd"
            value = int(rng.integers(0, 100)) if whole else float(np.float32(rng.normal(0, 30)))
            struct.pack_into(
                (">" if big else "<") + CODES[f.datatype], data, row * row_step + column * step + f.offset, value
            )
            values[f.name.lower()].append(value)
    message = SimpleNamespace(
        height=rows, width=width, fields=fields, is_bigendian=big, point_step=step, row_step=row_step, data=bytes(data)
    )
    return message, values


XYZ = [field("x", 0, 7), field("y", 4, 7), field("z", 8, 7)]


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("rows", "width", "extra"), [(1, 7, 0), (4, 5, 0), (4, 5, 13), (3, 1, 8)])
def test_any_layout_gives_the_packed_values(big: bool, rows: int, width: int, extra: int) -> None:
    fields = [field("ring", 1, 4), field("Intensity", 3, 2), field("z", 8, 8), field("y", 17, 7), field("x", 29, 5)]
    message, values = packed(rows, width, fields, big, step=40, row_step=40 * width + extra)
    columns = to_columns(message, "file: message 3")
    assert {name: column.tolist() for name, column in columns.items()} == values


@pytest.mark.parametrize("datatype", CODES)
def test_every_datatype(datatype: int) -> None:
    fields = [field(name, 8 * n, datatype) for n, name in enumerate("xyz")]
    message, values = packed(1, 6, fields)
    columns = to_columns(message, "file")
    assert all(columns[name].tolist() == values[name] for name in "xyz")


def test_fields_of_several_values_and_padding_are_left_out() -> None:
    fields = [*XYZ, field("_", 12, 7), field("_", 16, 7), field("normal", 20, 7, 3), field("t", 32, 6, 0)]
    message, values = packed(1, 4, fields, step=40)
    columns = to_columns(message, "file")
    assert set(columns) == {"x", "y", "z", "t"}  # PCL reads a count of 0 as 1
    assert columns["t"].tolist() == values["t"]


def test_a_cloud_of_one_row_may_lack_its_row_step_and_an_empty_one_everything() -> None:
    message, values = packed(1, 4, XYZ)
    message.row_step = 0
    assert to_columns(message, "file")["z"].tolist() == values["z"]
    message.data += b"\0" * 11  # less than a point
    assert to_columns(message, "file")["z"].tolist() == values["z"]
    message.width, message.data = 0, b""
    assert len(to_columns(message, "file")["x"]) == 0
    message.fields, message.height, message.point_step = [], 0, 0
    assert {name: len(column) for name, column in to_columns(message, "file").items()} == dict.fromkeys("xyz", 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": b"\0" * 95}, "95 bytes do not hold 2 x 4 points of 12 bytes"),
        ({"row_step": 40}, "do not hold 2 x 4 points"),
        ({"row_step": 0}, "do not hold 2 x 4 points"),
        ({"point_step": 8}, "field z ends at byte 12 of a point of 8 bytes"),
        ({"point_step": 0}, "field x ends at byte 4 of a point of 0 bytes"),
        ({"width": 5}, "do not hold 2 x 5 points"),
        ({"height": 0}, "96 bytes are more than 0 x 4 points of 12 bytes"),
        ({"width": 0}, "are more than 2 x 0 points"),
        ({"width": 0, "row_step": 0}, "are more than 2 x 0 points"),
        ({"height": 1}, "are more than 1 x 4 points"),
        ({"height": 1, "width": 7}, "are more than 1 x 7 points"),
        ({"fields": XYZ[:2]}, "lacks z \\(it has x, y\\)"),
        ({"fields": []}, "lacks x, y, z \\(it has no fields\\)"),
        ({"fields": [*XYZ, field("x", 4, 7)]}, "two fields named x"),
        ({"fields": [*XYZ[:2], field("z", 8, 9)]}, "field z has the unknown datatype 9"),
    ],
)
def test_sizes_that_contradict_each_other_are_one_line(change: dict[str, object], said: str) -> None:
    message, _ = packed(2, 4, XYZ)
    vars(message).update(change)
    with pytest.raises(DataError, match=f"^drive.mcap: message 3: .*{said}") as error:
        to_columns(message, "drive.mcap: message 3")
    assert "\n" not in str(error.value)
