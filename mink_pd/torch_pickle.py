"""Pickles in files that ``torch.save`` wrote, read without running what is in them, within a bounded number of steps.

Tensors and plain values are read. Every other object (a framework's log, a NumPy scalar) becomes an :class:`Inert`
stand-in without content. Pickles that ask for functions of the standard library that do more than hold data are
refused.
"""

import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

STEPS = 2_000_000  # largest number of operations in a pickle; they take a few seconds
PLAIN = str | int | float | bool | bytes | None
# Modules of the standard library that checkpoints use to hold data. A pickle that asks for others is refused.
_HARMLESS = {
    "_codecs", "argparse", "array", "collections", "copyreg", "datetime", "decimal", "enum", "fractions", "pathlib",
    "types", "typing", "uuid",
}  # fmt: skip
_BUILTINS = {"set", "frozenset", "dict", "list", "tuple", "complex", "bytearray", "slice", "range", "object", "type"}


class Inert:
    """Stands for an object that is not created."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


@dataclass(frozen=True)
class _StorageType:
    dtype: torch.dtype


@dataclass(frozen=True)
class Storage:
    dtype: torch.dtype
    key: str
    numbers: int


@dataclass(frozen=True)
class LazyTensor:
    """A tensor whose numbers have not been read yet, as a view of a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class RefusedError(Exception):
    """A pickle asks for a function or class that is not data."""


class Unpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]  # the Python version, whose operations can be replaced
    """Creates tensors, plain values and stand-ins. It calls no function that a pickle names."""

    dispatch: ClassVar[dict[int, Callable]] = dict(pickle._Unpickler.dispatch)  # type: ignore[attr-defined]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: Any, size: int) -> None:
        super().__init__(file, encoding="utf-8", errors="replace")
        self.storages: dict[str, Storage] = {}
        self.size, self.left = size, STEPS

    def load(self) -> Any:
        """The method of the base class with a limit on the number of steps."""
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
            raise RefusedError(f"{_plain(module)}.{_plain(name)}")
        return Inert

    def persistent_load(self, pid: Any) -> Storage:
        kind, storage, key, _, numbers = pid[:5]
        if kind != "storage" or not isinstance(storage, _StorageType) or any(part is not None for part in pid[5:]):
            raise ValueError("a storage of unknown kind")
        if not isinstance(numbers, int) or not 0 <= numbers <= self.size:
            raise ValueError("a storage larger than the file")
        return self.storages.setdefault(str(key), Storage(storage.dtype, str(key), numbers))

    def load_build(self) -> None:
        """Discard the state of an object. Stand-ins have none, and dictionaries need none."""
        self.stack.pop()

    def make(self, function: Any, arguments: Any) -> Any:
        """The result of a call. Only functions of this module are called."""
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
        """Add items to a list, or keys and values to a dictionary. A stand-in discards them."""
        if isinstance(goal, list):
            goal.extend(items)
        elif isinstance(goal, dict):
            goal.update(_items(zip(items[::2], items[1::2], strict=True)))
        elif not isinstance(goal, Inert):
            raise ValueError("items for an object that is not a container")

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
        self.pop_mark()  # a set becomes a stand-in, because hashing could take for ever

    def load_set(self) -> None:
        self.append(Inert())

    def load_frozenset(self) -> None:
        self.pop_mark()
        self.append(Inert())

    def refuse(self) -> None:
        raise ValueError("an operation that torch does not write")


def _items(pairs: Any = ()) -> Iterator[tuple[Any, Any]]:
    """Pairs with plain keys only, because hashing nested ones could take for ever."""
    for key, value in pairs:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(part is None or isinstance(part, PLAIN) for part in parts):
            key = repr(type(key))
        yield key, value


def _size(size: Any = ()) -> tuple[int, ...]:
    return tuple(int(one) for one in size)


def _bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Bytes in the form of pickle's protocols before 3."""
    if encoding != "latin1" or not isinstance(text, str):
        raise ValueError("bytes in another encoding")
    return text.encode("latin1")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    if not isinstance(storage, Storage):
        return Inert()
    return LazyTensor(storage, int(offset), _size(size), _size(stride))


def _typed_tensor(storage: Any, offset: Any, size: Any, stride: Any, _: Any, __: Any, dtype: Any, *___: Any) -> Any:
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
        return Inert()
    numbers = storage.numbers * storage.dtype.itemsize // dtype.itemsize
    return _tensor(Storage(dtype, storage.key, numbers), offset, size, stride)


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
    """A name from a file, made safe for a message."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:100]


def _override() -> None:
    """Replace pickle's operations by those of this module."""
    own = {
        pickle.BUILD: Unpickler.load_build,
        pickle.REDUCE: Unpickler.load_reduce,
        pickle.NEWOBJ: Unpickler.load_newobj,
        pickle.NEWOBJ_EX: Unpickler.load_newobj_ex,
        pickle.OBJ: Unpickler.load_obj,
        pickle.INST: Unpickler.load_inst,
        pickle.APPEND: Unpickler.load_append,
        pickle.APPENDS: Unpickler.load_appends,
        pickle.SETITEM: Unpickler.load_setitem,
        pickle.SETITEMS: Unpickler.load_appends,
        pickle.DICT: Unpickler.load_dict,
        pickle.EMPTY_SET: Unpickler.load_set,
        pickle.ADDITEMS: Unpickler.load_additems,
        pickle.FROZENSET: Unpickler.load_frozenset,
    }
    refused = (pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)
    own |= dict.fromkeys(refused, Unpickler.refuse)
    Unpickler.dispatch |= {code[0]: step for code, step in own.items()}


_override()
