"""LAS files (ASPRS, 1.0 to 1.4), and LAZ files, whose points lazrs unpacks.

The headers are read and checked here, because lazrs aborts the process or never returns if they are wrong.
"""

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mink_pd.data.formats.counts import check_count
from mink_pd.errors import DataError

_SHORTEST_POINT = (20, 28, 26, 34, 57, 63, 30, 36, 38, 59, 67)  # size of a point [bytes], by point format
_TIME_AT = {1: 20, 3: 20, 4: 20, 5: 20, 6: 22, 7: 22, 8: 22, 9: 22, 10: 22}  # offset of the GPS time, by point format
_BEST_COMPRESSION = 100  # largest number of points per byte; real files have less than one
_LARGEST = 1 << 30  # largest size of the unpacked points [bytes]
_COMPRESSED = 0x80  # bit of the point format
_NEXT_AT = ((227, 3), (235, 4))  # offsets of where the waveforms and the extended records begin, and since which 1.x
_EMPTY_LAZ = 16  # size of no compressed points: where their table is, and the table [bytes]
_VLR_HEADER = 54  # size of a variable length record's header [bytes]
_LASZIP = ("laszip encoded", 22204)
_ANY_CHUNK = 0xFFFFFFFF  # chunk size that means chunks of different sizes


@dataclass(frozen=True)
class _Header:
    start: int  # offset of the points
    end: int  # offset of what follows them
    records: list[tuple[str, int, bytes]]  # user, number, content
    format: int
    point_size: int
    points: int
    scale: np.ndarray  # (3,)
    offset: np.ndarray  # (3,)
    compressed: bool


def read(content: bytes, path: Path) -> dict[str, np.ndarray]:
    """Columns x, y, z [m], intensity, return and, if the format has it, time. Raises DataError that names the file."""
    try:
        header = _read_header(content)
        points = _unpack(content, header) if header.compressed else content[header.start : header.end]
    except (ValueError, struct.error, IndexError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path}: is not a valid {path.suffix[1:].upper()} file ({reason}); copy it again") from None
    check_count(header.points, len(points) // header.point_size, path)
    names, formats, offsets = ["xyz", "intensity", "return"], ["<3i4", "<u2", "u1"], [0, 12, 14]
    if header.format in _TIME_AT:
        names, formats, offsets = [*names, "time"], [*formats, "<f8"], [*offsets, _TIME_AT[header.format]]
    row = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": header.point_size})
    table = np.frombuffer(points, row, header.points)  # (P,)
    with np.errstate(over="ignore"):
        xyz = table["xyz"] * header.scale + header.offset  # (P, 3)
    columns = {"x": xyz[:, 0], "y": xyz[:, 1], "z": xyz[:, 2]} | {name: table[name] for name in names[1:]}
    columns["return"] = columns["return"] & (7 if header.format < 6 else 15)
    return columns


def _read_header(content: bytes) -> _Header:
    if content[:4] != b"LASF":
        raise ValueError("it does not begin with LASF")
    minor = content[25]
    size, start, records = struct.unpack_from("<HII", content, 94)
    code, point_size, points = struct.unpack_from("<BHI", content, 104)
    numbers = np.array(struct.unpack_from("<6d", content, 131))
    if minor >= 4 and size >= 255:
        points = struct.unpack_from("<Q", content, 247)[0] or points  # some writers fill in the older count alone
    format = code & 0x3F
    if format >= len(_SHORTEST_POINT) or point_size < _SHORTEST_POINT[format]:
        raise ValueError(f"points of format {format} and {point_size} bytes")
    if not np.isfinite(numbers).all() or not size <= start <= len(content):
        raise ValueError("its header is damaged")
    found: list[tuple[str, int, bytes]] = []
    at = size
    while len(found) < records and at + _VLR_HEADER <= start:
        user, number, length = struct.unpack_from("<16sHH", content, at + 2)
        at += _VLR_HEADER + length
        found.append((user.split(b"\0")[0].decode("ascii", "replace"), number, content[at - length : at]))
    compressed = bool(code & _COMPRESSED)
    least = start if compressed else start + points * point_size
    behind = [struct.unpack_from("<Q", content, at)[0] for at, since in _NEXT_AT if minor >= since and size >= at + 8]
    end = min([offset for offset in behind if offset >= least], default=len(content))
    return _Header(start, end, found, format, point_size, points, numbers[:3], numbers[3:], compressed)


def _unpack(content: bytes, header: _Header) -> bytes:
    """The points of a LAZ file. Raises ValueError if its tables contradict each other."""
    import lazrs  # only this format needs it

    if not header.points:
        behind = header.end - header.start
        if behind >= _EMPTY_LAZ + header.point_size:
            raise ValueError(f"its header states 0 points, but {behind} bytes of them are there; was it never closed?")
        return b""
    record = next((text for *key, text in header.records if tuple(key) == _LASZIP), None)
    if record is None:
        raise ValueError("no record describes its compression")
    total = header.points * header.point_size
    if header.points > _BEST_COMPRESSION * len(content) or total > _LARGEST:
        raise ValueError(f"truncated, {len(content)} bytes are too few for {header.points} points")
    _check_record(record, header.point_size)
    _check_chunks(content, header, struct.unpack_from("<I", record, 12)[0])
    source, points = io.BytesIO(content), bytearray(total)
    source.seek(header.start)
    try:
        lazrs.LasZipDecompressor(source, record).decompress_many(points)
    except BaseException as error:  # a panic of lazrs is not an Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise ValueError(f"its compressed points are damaged: {error}") from None
    return bytes(points)


def _check_record(record: bytes, point_size: int) -> None:
    """Raise ValueError unless the sizes of a compressed point's items add up to its size."""
    (count,) = struct.unpack_from("<H", record, 32)
    items = [struct.unpack_from("<HHH", record, 34 + 6 * n) for n in range(count)]  # type, size, version
    if sum(size for _, size, _ in items) != point_size:
        raise ValueError("its compressed points have another size than its header states")


def _check_chunks(content: bytes, header: _Header, chunk: int) -> None:
    """Raise ValueError if the table of chunks is not in the file or lists more chunks than there can be."""
    (table,) = struct.unpack_from("<q", content, header.start)
    if table == -1:
        (table,) = struct.unpack_from("<q", content, len(content) - 8)
    if chunk == 0 or not header.start + 8 <= table <= len(content) - 8:
        raise ValueError("its table of chunks is missing")
    (chunks,) = struct.unpack_from("<I", content, table + 4)
    most = header.points if chunk == _ANY_CHUNK else -(-header.points // chunk)
    if not 0 < chunks <= most:
        raise ValueError(f"its table lists {chunks} chunks for {header.points} points")
