"""Files that ``torch.save`` wrote, zip files and older ones, read within bounds of time and memory.

:mod:`mink_pd.torch_pickle` reads their pickles without running what is in them.
"""

import io
import math
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from mink_pd.errors import CheckpointError
from mink_pd.files import check_regular, reading
from mink_pd.torch_pickle import PLAIN, LazyTensor, RefusedError, Storage, Unpickler

PICKLE = 256_000_000  # largest pickle [bytes]
DIRECTORY = 8_000_000  # largest directory of a zip file [bytes], for 100,000 entries
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch's files before they were zip files


class TorchFile:
    """The content of a file; a context manager.

    content: the values of the file, with tensors as :class:`LazyTensor`.
    Raises CheckpointError that names the file if it is missing, damaged, not torch's, too large, or asks for more than
    data.
    """

    def __init__(self, path: Path, remedy: str = "copy it again") -> None:
        self.path, self.remedy = path, remedy
        if not path.exists():
            raise CheckpointError(f"{path}: no such file; give a checkpoint that torch saved")
        check_regular(path, CheckpointError, "give a checkpoint that torch saved")
        self._flat: dict[str, Tensor] = {}
        with self._naming():
            self._file = path.open("rb")
        try:
            with self._naming():
                self.content, self._read = self._open()
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> "tuple[Any, Reader]":
        size = self.path.stat().st_size
        zipped = self._file.read(4) == b"PK\x03\x04"
        self._file.seek(0)
        try:
            return _open_zip(self._file, size) if zipped else _open_legacy(self._file, size)
        except RefusedError as asked:
            raise CheckpointError(
                f"{self.path}: refused: its pickle asks for {asked}, and loading that would run it; only tensors are"
                " read"
            ) from None

    def tensor(self, lazy: LazyTensor) -> Tensor:
        """The tensor with its numbers, copied. Raises CheckpointError."""
        storage = lazy.storage
        with self._naming():
            if storage.key not in self._flat:
                data = self._read(storage)
                flat = torch.empty(0, dtype=storage.dtype)
                self._flat[storage.key] = torch.frombuffer(bytearray(data), dtype=storage.dtype) if data else flat
            flat = self._flat[storage.key]
            last = lazy.offset + sum((size - 1) * step for size, step in zip(lazy.size, lazy.stride, strict=True))
            count = math.prod(lazy.size)
            if min((lazy.offset, *lazy.size, *lazy.stride)) < 0 or count > len(flat) or (count and last >= len(flat)):
                raise ValueError("a tensor reaches beyond its storage")
            return flat.as_strided(lazy.size, lazy.stride, lazy.offset).clone()

    def tensors(self, value: Any) -> Any:
        """A tree of plain values with all its tensors read. Raises CheckpointError for any other object."""
        if isinstance(value, LazyTensor):
            return self.tensor(value)
        if isinstance(value, dict):
            return type(value)((key, self.tensors(item)) for key, item in value.items())
        if isinstance(value, list | tuple):
            return type(value)(self.tensors(item) for item in value)
        if value is None or isinstance(value, PLAIN):
            return value
        raise CheckpointError(f"{self.path}: contains more than tensors and plain values; {self.remedy}")

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _naming(self) -> Any:
        return reading(self.path, CheckpointError, self.remedy)


Reader = Callable[[Storage], bytes]


def _open_zip(file: IO[bytes], size: int) -> tuple[Any, Reader]:
    """The values of a zip file, and a function that reads its storages."""
    if _directory_size(file, size) > DIRECTORY:
        raise ValueError("its directory is too long")
    archive = zipfile.ZipFile(file)
    entries = {info.filename: info for info in archive.infolist()}
    name = next((name for name in entries if name.endswith("/data.pkl")), None)
    if name is None:
        raise ValueError("no data.pkl in it, as torch writes it")
    root = name.removesuffix("data.pkl")

    def read(name: str, limit: int) -> bytes:
        info = entries[name]
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > min(limit, size):
            raise ValueError(f"{name} is compressed or too large")
        return archive.read(info)

    if f"{root}byteorder" in entries and read(f"{root}byteorder", 16) != sys.byteorder.encode():
        raise ValueError("written on a machine of the other byte order")
    data = io.BytesIO(read(name, PICKLE))
    content = Unpickler(data, size).load()

    def storage(one: Storage) -> bytes:
        return read(f"{root}data/{one.key}", one.numbers * one.dtype.itemsize)

    return content, storage


def _directory_size(file: IO[bytes], size: int) -> int:
    """Size of a zip file's central directory [bytes] according to the end of the file."""
    file.seek(max(0, size - 66_000))
    tail = file.read()
    end, large = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    file.seek(0)
    if end < 0 or end + 16 > len(tail):
        raise ValueError("cut off")
    (length,) = struct.unpack_from("<I", tail, end + 12)
    return struct.unpack_from("<Q", tail, large + 40)[0] if length == 0xFFFFFFFF and large >= 0 else length


def _open_legacy(file: IO[bytes], size: int) -> tuple[Any, Reader]:
    """The values of a file written before torch 1.6, which has pickles followed by storages."""
    bounded = _Bounded(file, size)
    if Unpickler(bounded, size).load() != _MAGIC or Unpickler(bounded, size).load() != _PROTOCOL:
        raise ValueError("not a file that torch saved")
    facts = Unpickler(bounded, size).load()
    if isinstance(facts, dict) and facts.get("little_endian", True) != (sys.byteorder == "little"):
        raise ValueError("written on a machine of the other byte order")
    values = Unpickler(bounded, size)
    content = values.load()
    locations: dict[str, tuple[int, int]] = {}
    for key in map(str, Unpickler(bounded, size).load()):
        (numbers,) = struct.unpack("<q", bounded.read(8))
        length = numbers * values.storages[key].dtype.itemsize
        if not 0 <= length <= size - file.tell():
            raise ValueError("cut off")
        locations[key] = (file.tell(), length)
        file.seek(length, io.SEEK_CUR)

    def storage(one: Storage) -> bytes:
        start, length = locations[one.key]
        file.seek(start)
        return file.read(length)

    return content, storage


class _Bounded:
    """Limits reads to the size of a file, because a read allocates the requested memory first."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size

    def read(self, count: int) -> bytes:
        return self.file.read(min(count, self.size - self.file.tell()))

    def readline(self) -> bytes:
        return self.file.readline(100_000)
