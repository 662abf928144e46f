"""PCD files of the Point Cloud Library, version 0.7 and before: ascii, binary and binary_compressed."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mink_pd.data.formats.counts import check_count
from mink_pd.data.formats.lzf import decompress
from mink_pd.data.formats.text import read_table
from mink_pd.errors import DataError

_TYPES = {f"{kind}{size}" for kind, sizes in (("f", "248"), ("i", "1248"), ("u", "1248")) for size in sizes}
_LONGEST_HEADER = 1 << 20  # [bytes]
_LARGEST_POINT = 1 << 16  # [bytes]
_BEST_COMPRESSION = 88  # largest ratio of LZF, which turns 3 bytes into at most 264


@dataclass(frozen=True)
class _Field:
    name: str
    type: np.dtype
    count: int  # values of this field per point

    @property
    def size(self) -> int:
        return self.type.itemsize * self.count


@dataclass(frozen=True)
class _Header:
    fields: list[_Field]
    points: int
    encoding: str
    body: int  # offset of the points

    @property
    def point_size(self) -> int:
        return sum(field.size for field in self.fields)

    def wanted(self) -> list[tuple[int, int, _Field]]:
        """Index, offset within a point [bytes] and field, for all fields of one value that are not padding."""
        ends = np.cumsum([field.size for field in self.fields]).tolist()
        found: dict[str, tuple[int, int, _Field]] = {}
        for index, (end, field) in enumerate(zip(ends, self.fields, strict=True)):
            if field.count == 1 and field.name != "_":
                found.setdefault(field.name, (index, end - field.size, field))
        return list(found.values())


def read(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """The fields of one value; padding and fields of several values are skipped.

    Raises DataError that names the file if its header is invalid, it is truncated or damaged, or it holds more points
    than it states.
    """
    try:
        header = _read_header(content)
    except (KeyError, ValueError, IndexError, UnicodeDecodeError, OverflowError) as error:
        raise DataError(f"{path}: has no valid PCD header ({_reason(error)}); check or convert it") from None
    if header.encoding == "ascii":
        return _ascii(content[header.body :], header, path)
    if header.encoding == "binary":
        return _binary(content, header, path)
    return _compressed(content, header, path)


def _reason(error: Exception) -> str:
    return f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)


def _read_header(content: bytes) -> _Header:
    entries: dict[str, list[str]] = {}
    at = 0
    while "DATA" not in entries:
        end = content.find(b"\n", at, _LONGEST_HEADER)
        if end < 0:
            raise ValueError("it does not end with a DATA line")
        words = content[at:end].decode("ascii", "replace").split()
        at = end + 1
        if words and not words[0].startswith("#"):
            entries[words[0].upper()] = words[1:]
    names = entries["FIELDS"] if "FIELDS" in entries else entries["COLUMNS"]  # COLUMNS in versions before 0.5
    sizes, kinds = entries["SIZE"], entries["TYPE"]
    counts = entries.get("COUNT", ["1"] * len(names))
    if not len(names) == len(sizes) == len(kinds) == len(counts) > 0:
        raise ValueError("FIELDS, SIZE, TYPE and COUNT have different lengths")
    fields = []
    for name, size, kind, count in zip(names, sizes, kinds, counts, strict=True):
        code = f"{kind.lower()}{size}"
        if code not in _TYPES or not 0 <= int(count) <= _LARGEST_POINT:
            raise ValueError(f"field {name} has type {kind}, size {size} and count {count}")
        fields.append(_Field(name.lower(), np.dtype(f"<{code}"), int(count)))
    width, height = int(entries["WIDTH"][0]), int(entries.get("HEIGHT", ["1"])[0])
    points = int(entries["POINTS"][0]) if "POINTS" in entries else width * height
    if min(width, height, points) < 0 or points != width * height:
        raise ValueError(f"{points} points are not WIDTH {width} times HEIGHT {height}")
    encoding = entries["DATA"][0].lower()
    if encoding not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(f"unknown DATA {encoding}")
    header = _Header(fields, points, encoding, at)
    if not 0 < header.point_size <= _LARGEST_POINT:
        raise ValueError(f"a point of {header.point_size} bytes")
    return header


def _ascii(body: bytes, header: _Header, path: Path) -> dict[str, np.ndarray]:
    types = [field.type for field in header.fields for _ in range(field.count)]
    columns = read_table(body, header.points, types, path)
    first = np.cumsum([0, *(field.count for field in header.fields)])
    return {field.name: columns[first[index]] for index, _, field in header.wanted()}


def _binary(content: bytes, header: _Header, path: Path) -> dict[str, np.ndarray]:
    check_count(header.points, (len(content) - header.body) // header.point_size, path)
    wanted = header.wanted()
    row = np.dtype(
        {
            "names": [field.name for *_, field in wanted],
            "formats": [field.type for *_, field in wanted],
            "offsets": [offset for _, offset, _ in wanted],
            "itemsize": header.point_size,
        }
    )
    table = np.frombuffer(content, row, header.points, header.body)  # (P,)
    return {field.name: table[field.name] for *_, field in wanted}


def _compressed(content: bytes, header: _Header, path: Path) -> dict[str, np.ndarray]:
    """The decompressed data contain all values of the first field, then all values of the second, and so on."""
    total, start = header.points * header.point_size, header.body + 8
    there = len(content) >= start
    if not there and header.points:
        raise DataError(f"{path}: truncated, its points are missing; copy the file again")
    packed, unpacked = struct.unpack_from("<II", content, header.body) if there else (0, 0)
    if unpacked > total:
        check_count(header.points, unpacked // header.point_size, path)
    if not header.points:
        return {field.name: np.zeros(0, field.type) for *_, field in header.wanted()}
    if packed > len(content) - start:
        raise DataError(f"{path}: truncated, {len(content) - start} of {packed} bytes are there; copy the file again")
    if unpacked != total or total > _BEST_COMPRESSION * packed:
        raise DataError(f"{path}: {packed} bytes are too few for its {header.points} points; copy or convert it again")
    try:
        body = decompress(content[start : start + packed], total)
    except (ValueError, IndexError) as error:
        raise DataError(f"{path}: its compressed points are damaged ({error}); copy the file again") from None
    return {
        field.name: np.frombuffer(body, field.type, header.points, header.points * offset)
        for _, offset, field in header.wanted()
    }
