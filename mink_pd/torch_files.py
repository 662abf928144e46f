"""Files that ``torch.save`` wrote, read without running what is in them, within bounds of time and memory.

Tensors and plain values are read. Every other object (a framework's log, a NumPy scalar) becomes an :class:`Inert`
stand-in that holds nothing. Pickles that ask for the system's functions are refused.
"""

import io
import math
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

from mink_pd.errors import CheckpointError
from mink_pd.files import check_regular, reading

STEPS = 2_000_000  # of a pickle: some seconds
PICKLE = 256_000_000  # bytes of one
DIRECTORY = 8_000_000  # bytes of a zip file's directory: 100,000 entries
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch's files before they were zip files
_KEYS = str | int | float | bool | bytes | None
# Of the standard library, what checkpoints hold in passing; anything else of it asks for more than data.
_HARMLESS = {
    "_codecs", "argparse", "array", "collections", "copyreg", "datetime", "decimal", "enum", "fractions", "pathlib",
    "types", "typing", "uuid",
}  # fmt: skip
_BUILTINS = {"set", "frozenset", "dict", "list", "tuple", "complex", "bytearray", "slice", "range", "object", "type"}


class Inert:
    """Stands for an object that is not built."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


@dataclass(frozen=True)
class _StorageType:
    dtype: torch.dtype


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    key: str
    numbers: int


@dataclass(frozen=True)
class LazyTensor:
    """A tensor whose numbers have not been read yet: a view of a storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _RefusedError(Exception):
    """A pickle asks for this function or class."""


class TorchFile:
    """What a file holds. ``content``: its values, tensors as :class:`LazyTensor`; use as a context manager.

    Raises CheckpointError naming the file: missing, damaged, not torch's, too large, or asking for more than data.
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
        except _RefusedError as asked:
            raise CheckpointError(
                f"{self.path}: refused: its pickle asks for {asked}, and loading that would run it; only tensors are"
                " read"
            ) from None

    def tensor(self, lazy: LazyTensor) -> Tensor:
        """Its numbers, in memory of their own. Raises CheckpointError."""
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
        """A tree of plain values with its tensors read. Raises CheckpointError for an object that is neither."""
        if isinstance(value, LazyTensor):
            return self.tensor(value)
        if isinstance(value, dict):
            return type(value)((key, self.tensors(item)) for key, item in value.items())
        if isinstance(value, list | tuple):
            return type(value)(self.tensors(item) for item in value)
        if value is None or isinstance(value, _KEYS):
            return value
        raise CheckpointError(f"{self.path}: holds more than tensors and plain values; {self.remedy}")

    def __enter__(self) -> "TorchFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _naming(self) -> Any:
        return reading(self.path, CheckpointError, self.remedy)


Reader = Callable[[_Storage], bytes]


def _open_zip(file: IO[bytes], size: int) -> tuple[Any, Reader]:
    """The values of a zip file, and how to read its storages."""
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
    content = _Unpickler(data, size).load()

    def storage(one: _Storage) -> bytes:
        return read(f"{root}data/{one.key}", one.numbers * one.dtype.itemsize)

    return content, storage


def _directory_size(file: IO[bytes], size: int) -> int:
    """Bytes of a zip file's central directory, as its end says."""
    file.seek(max(0, size - 66_000))
    tail = file.read()
    end, large = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    file.seek(0)
    if end < 0 or end + 16 > len(tail):
        raise ValueError("cut off")
    (length,) = struct.unpack_from("<I", tail, end + 12)
    return struct.unpack_from("<Q", tail, large + 40)[0] if length == 0xFFFFFFFF and large >= 0 else length


def _open_legacy(file: IO[bytes], size: int) -> tuple[Any, Reader]:
    """The values of a file from before torch 1.6: pickles, then storages one after the other."""
    bounded = _Bounded(file, size)
    if _Unpickler(bounded, size).load() != _MAGIC or _Unpickler(bounded, size).load() != _PROTOCOL:
        raise ValueError("not a file that torch saved")
    facts = _Unpickler(bounded, size).load()
    if isinstance(facts, dict) and facts.get("little_endian", True) != (sys.byteorder == "little"):
        raise ValueError("written on a machine of the other byte order")
    values = _Unpickler(bounded, size)
    content = values.load()
    places: dict[str, tuple[int, int]] = {}
    for key in map(str, _Unpickler(bounded, size).load()):
        (numbers,) = struct.unpack("<q", bounded.read(8))
        length = numbers * values.storages[key].dtype.itemsize
        if not 0 <= length <= size - file.tell():
            raise ValueError("cut off")
        places[key] = (file.tell(), length)
        file.seek(length, io.SEEK_CUR)

    def storage(one: _Storage) -> bytes:
        start, length = places[one.key]
        file.seek(start)
        return file.read(length)

    return content, storage


class _Bounded:
    """A file that is never asked for more than it has: memory is taken for what is asked."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size

    def read(self, count: int) -> bytes:
        return self.file.read(min(count, self.size - self.file.tell()))

    def readline(self) -> bytes:
        return self.file.readline(100_000)


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]  # the one in Python, whose every step is ours
    """Builds tensors, plain values and stand-ins, and calls nothing else."""

    dispatch: ClassVar[dict[int, Callable]] = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: Any, size: int) -> None:
        super().__init__(file, encoding="utf-8", errors="replace")
        self.storages: dict[str, _Storage] = {}
        self.size, self.left = size, STEPS

    def load(self) -> Any:
        """As its base has it, with a count of steps."""
        self._unframer = pickle._Unframer(self._file_read, self._file_readline)  # type: ignore[attr-defined]
        self.read, self.readline, self.readinto = self._unframer.read, self._unframer.readline, None
        self.metastack: list[Any] = []
        self.stack: list[Any] = []
        self.append, self.proto = self.stack.append, 0
        try:
            while True:
                self.left -= 1
                code = self.read(1)
                if not code or self.left < 0:
                    raise ValueError("cut off" if not code else "too many steps")
                self.dispatch[code[0]](self)
        except pickle._Stop as stop:  # type: ignore[attr-defined]
            return stop.value

    def find_class(self, module: str, name: str) -> Any:
        if module == "collections" and name == "OrderedDict":
            return OrderedDict
        if (module, name) == ("torch", "Size"):
            return _size
        if (module, name) == ("_codecs", "encode"):
            return _bytes
        if module == "torch._utils" and name in _REBUILT:
            return _REBUILT[name]
        if module in ("torch", "torch.storage") and name.endswith("Storage") and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        module = {"__builtin__": "builtins"}.get(module, module)
        top = module.partition(".")[0]
        known = name in _BUILTINS if top == "builtins" else top in _HARMLESS
        if not known and (top in sys.stdlib_module_names or top in ("builtins", "nt", "posix")):
            raise _RefusedError(f"{_plain(module)}.{_plain(name)}")
        return Inert

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, numbers = pid[:5]
        if kind != "storage" or not isinstance(storage, _StorageType) or any(part is not None for part in pid[5:]):
            raise ValueError("a storage of unknown kind")
        if not isinstance(numbers, int) or not 0 <= numbers <= self.size:
            raise ValueError("a storage larger than the file")
        return self.storages.setdefault(str(key), _Storage(storage.dtype, str(key), numbers))

    def load_build(self) -> None:
        """The state of an object is thrown away: stand-ins have none, and dictionaries need none."""
        self.stack.pop()

    def make(self, function: Any, arguments: Any) -> Any:
        """The result of a call. Only our own functions are called."""
        if function in _OWN:
            return function(*arguments)
        if function is OrderedDict:
            return OrderedDict(_items(*arguments)) if arguments else OrderedDict()
        return Inert()

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        self.stack[-1] = self.make(self.stack[-1], arguments)

    def load_newobj(self) -> None:
        arguments = self.stack.pop()
        self.append(self.make(self.stack.pop(), arguments))

    def load_newobj_ex(self) -> None:
        self.stack.pop()
        self.load_newobj()

    def load_obj(self) -> None:
        function, *arguments = self.pop_mark()
        self.append(self.make(function, arguments))

    def load_inst(self) -> None:
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        self.append(self.make(self.find_class(module, name), self.pop_mark()))

    def add_to(self, goal: Any, items: list[Any]) -> None:
        """Items for a list, or keys and values for a dictionary; a stand-in takes them without keeping them."""
        if isinstance(goal, list):
            goal.extend(items)
        elif isinstance(goal, dict):
            goal.update(_items(zip(items[::2], items[1::2], strict=True)))
        elif not isinstance(goal, Inert):
            raise ValueError("items for what holds none")

    def load_append(self) -> None:
        item = self.stack.pop()
        self.add_to(self.stack[-1], [item])

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.add_to(self.stack[-1], [key, value])

    def load_appends(self) -> None:
        items = self.pop_mark()
        self.add_to(self.stack[-1], items)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append(dict(_items(zip(items[::2], items[1::2], strict=True))))

    def load_additems(self) -> None:
        self.pop_mark()  # of a set, which becomes a stand-in: hashing could take for ever

    def load_set(self) -> None:
        self.append(Inert())

    def load_frozenset(self) -> None:
        self.pop_mark()
        self.append(Inert())

    def refuse(self) -> None:
        raise ValueError("an operation that torch does not write")


def _items(pairs: Any = ()) -> Iterator[tuple[Any, Any]]:
    """Pairs whose keys are plain: hashing nested ones could take for ever."""
    for key, value in pairs:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(part is None or isinstance(part, _KEYS) for part in parts):
            key = repr(type(key))
        yield key, value


def _size(size: Any = ()) -> tuple[int, ...]:
    return tuple(int(one) for one in size)


def _bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Bytes as pickle's protocols before 3 write them."""
    if encoding != "latin1" or not isinstance(text, str):
        raise ValueError("bytes in another encoding")
    return text.encode("latin1")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    if not isinstance(storage, _Storage):
        return Inert()
    return LazyTensor(storage, int(offset), _size(size), _size(stride))


def _typed_tensor(storage: Any, offset: Any, size: Any, stride: Any, _: Any, __: Any, dtype: Any, *___: Any) -> Any:
    if not isinstance(storage, _Storage) or not isinstance(dtype, torch.dtype):
        return Inert()
    numbers = storage.numbers * storage.dtype.itemsize // dtype.itemsize
    return _tensor(_Storage(dtype, storage.key, numbers), offset, size, stride)


def _parameter(tensor: Any = None, *_: Any) -> Any:
    return tensor


_REBUILT: dict[str, Callable] = {
    "_rebuild_tensor": _tensor,
    "_rebuild_tensor_v2": _tensor,
    "_rebuild_tensor_v3": _typed_tensor,
    "_rebuild_parameter": _parameter,
    "_rebuild_parameter_with_state": _parameter,
}
_OWN = (_size, _bytes, *_REBUILT.values())
_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
}  # fmt: skip


def _plain(text: str) -> str:
    """A name out of a file, fit for a message."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:100]


def _override() -> None:
    """Put this module's steps in the place of pickle's."""
    own = {
        pickle.BUILD: _Unpickler.load_build,
        pickle.REDUCE: _Unpickler.load_reduce,
        pickle.NEWOBJ: _Unpickler.load_newobj,
        pickle.NEWOBJ_EX: _Unpickler.load_newobj_ex,
        pickle.OBJ: _Unpickler.load_obj,
        pickle.INST: _Unpickler.load_inst,
        pickle.APPEND: _Unpickler.load_append,
        pickle.APPENDS: _Unpickler.load_appends,
        pickle.SETITEM: _Unpickler.load_setitem,
        pickle.SETITEMS: _Unpickler.load_appends,
        pickle.DICT: _Unpickler.load_dict,
        pickle.EMPTY_SET: _Unpickler.load_set,
        pickle.ADDITEMS: _Unpickler.load_additems,
        pickle.FROZENSET: _Unpickler.load_frozenset,
    }
    refused = (pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)
    own |= dict.fromkeys(refused, _Unpickler.refuse)
    _Unpickler.dispatch |= {code[0]: step for code, step in own.items()}


_override()
