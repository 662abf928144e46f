"""PLY files (Stanford polygon format): ascii, and binary of either byte order."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from mink_pd.data.formats.counts import check_count
from mink_pd.data.formats.text import read_table
from mink_pd.errors import DataError

_TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"}
_TYPES |= {"float": "f4", "double": "f8", "long": "i8", "ulong": "u8"}
_TYPES |= {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
_TYPES |= {"int64": "i8", "uint64": "u8", "float32": "f4", "float64": "f8"}
_ORDERS: dict[str, Literal["<", ">", "="]] = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
_LONGEST_HEADER = 1 << 20  # [bytes]


@dataclass
class _Element:
    name: str
    count: int
    properties: list[tuple[str, np.dtype]] = field(default_factory=list)
    has_list: bool = False

    @property
    def row(self) -> np.dtype:
        """The structured type of one entry. Fields are numbered because names may repeat."""
        return np.dtype([(str(n), type) for n, (_, type) in enumerate(self.properties)])


def read(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """The properties of the element ``vertex``; other elements are skipped.

    Raises DataError that names the file if its header is invalid, it is truncated, it holds more vertices than it
    states, or it has list properties in or before the vertices, which point clouds do not need.
    """
    try:
        elements, order, at = _read_header(content)
        before, vertex, after = _split(elements)
    except (KeyError, ValueError, IndexError, OverflowError) as error:
        reason = f"unknown word {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path}: has no valid PLY header ({reason}); check or convert it") from None
    if vertex.has_list or any(element.has_list for element in before):
        raise DataError(f"{path}: has list properties in or before its vertices; convert it to plain vertices")
    if order == "=":
        return _ascii(content[at:], before, vertex, sum(element.count for element in after), path)
    at += sum(element.count * element.row.itemsize for element in before)
    row = vertex.row
    check_count(vertex.count, _present(max(0, len(content) - at), vertex, after), path)
    table = np.frombuffer(content, row, vertex.count, at if vertex.count else 0)  # (P,)
    return {name: table[str(n)] for n, (name, _) in reversed(list(enumerate(vertex.properties)))}


def _present(room: int, vertex: _Element, after: list[_Element]) -> int:
    """The number of vertices in ``room`` bytes, which the elements after them share."""
    size = vertex.row.itemsize
    if any(element.has_list and element.count for element in after):  # of any size
        return min(room // size, vertex.count)
    rest = sum(element.count * element.row.itemsize for element in after)
    return min(room // size, max(vertex.count, (room - rest) // size))


def _ascii(body: bytes, before: list[_Element], vertex: _Element, after: int, path: Path) -> dict[str, np.ndarray]:
    """The vertices of a text, ``after`` which that many lines of other elements follow."""
    lines = sum(element.count for element in before)
    if lines:
        if lines > body.count(b"\n"):
            raise DataError(f"{path}: truncated, its vertices are missing; copy the file again")
        body = body.split(b"\n", lines)[-1]
    columns = read_table(body, vertex.count, [type for _, type in vertex.properties], path, after)
    return {name: columns[n] for n, (name, _) in reversed(list(enumerate(vertex.properties)))}


def _split(elements: list[_Element]) -> tuple[list[_Element], _Element, list[_Element]]:
    """The elements before the vertices, the vertices, and the elements after them."""
    index = next((n for n, element in enumerate(elements) if element.name == "vertex"), None)
    if index is None:
        raise ValueError("no element vertex")
    if not elements[index].properties and not elements[index].has_list:
        raise ValueError("vertices without properties")
    return elements[:index], elements[index], elements[index + 1 :]


def _read_header(content: bytes) -> tuple[list[_Element], Literal["<", ">", "="], int]:
    """Elements, byte order (= for text) and offset of the body."""
    elements: list[_Element] = []
    order: Literal["<", ">", "="] | None = None
    at = 0
    while True:
        end = content.find(b"\n", at, _LONGEST_HEADER)
        if end < 0:
            raise ValueError("it does not end with end_header")
        words = content[at:end].decode("ascii", "replace").split()
        if at == 0 and words != ["ply"]:
            raise ValueError("the first line is not 'ply'")
        at = end + 1
        match words:
            case ["end_header"]:
                break
            case ["format", kind, _]:
                order = _ORDERS[kind]
            case ["element", name, count]:
                if int(count) < 0:
                    raise ValueError(f"{count} entries of {name}")
                elements.append(_Element(name, int(count)))
            case ["property", "list", _, _, _]:
                elements[-1].has_list = True
            case ["property", kind, name]:
                elements[-1].properties.append((name.lower(), np.dtype(_TYPES[kind])))
            case [] | ["ply"] | ["comment" | "obj_info", *_]:
                pass
            case _:
                raise ValueError(f"the line '{' '.join(words)[:60]}'")
    if order is None:
        raise ValueError("no format")
    for element in elements:
        element.properties = [(name, type.newbyteorder(order)) for name, type in element.properties]
    return elements, order, at
