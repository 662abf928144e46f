"""Kernel maps in the layout of the compiled convolution, built once and shared by all networks on a manager."""

import itertools
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mink_pd.sparse.late_manager import LateManager, names_at
from mink_pd.sparse.minkowski import ME


@dataclass(frozen=True)
class PairList:
    """Which source row meets which target row under which offset of a kernel, sorted by offset, then target.

    source, target: int32 (P,); table: int32 (tiles + 1, K), where the pairs of a tile of target rows begin;
    rows: number of target rows; mirrored: the pairs at offset k are to be taken as those at K - 1 - k.
    """

    source: Tensor
    target: Tensor
    table: Tensor
    rows: int
    mirrored: bool = False


class KernelMap:
    """All (fine row, coarse row) with fine coordinate = coarse coordinate + offset: of a convolution from fine to
    coarse, of a transposed one from coarse to fine, and of the gradients of both."""

    def __init__(self, operators: Any, fine: Tensor, coarse: Tensor, offsets: Tensor, symmetric: bool) -> None:
        self._operators, self._fine_rows, self._symmetric = operators, len(fine), symmetric
        source, target, table = operators.neighbours(fine, coarse, offsets)
        self.to_coarse = PairList(source, target, table, len(coarse))
        self._to_fine: PairList | None = None

    @property
    def to_fine(self) -> PairList:
        if self._to_fine is None:
            pairs = self.to_coarse
            if self._symmetric:  # one set of coordinates, offsets -o for every o: the inverse is the mirror image
                self._to_fine = PairList(pairs.source, pairs.target, pairs.table, pairs.rows, mirrored=True)
            else:
                source, target, table = self._operators.inverse(
                    pairs.source, pairs.target, pairs.table, self._fine_rows
                )
                self._to_fine = PairList(source, target, table, self._fine_rows)
        return self._to_fine


@dataclass(frozen=True)
class _Known:
    """What is known of a manager: its kernel maps, the coordinates of its maps, and the keys of their strided maps.

    A manager copies coordinates at each call, and each call that returns a key leaks about a hundred bytes.
    """

    maps: dict[tuple, KernelMap] = field(default_factory=dict)
    coordinates: dict[tuple, Tensor] = field(default_factory=dict)
    strided: dict[tuple, "ME.CoordinateMapKey"] = field(default_factory=dict)


_known: "WeakKeyDictionary[ME.CoordinateManager, _Known]" = WeakKeyDictionary()


def known_of(manager: "ME.CoordinateManager") -> _Known:
    """What is known of this manager, for as long as it lives."""
    return _known.setdefault(manager, _Known())


def kernel_map(
    operators: Any,
    manager: "ME.CoordinateManager",
    fine: "ME.CoordinateMapKey",
    coarse: "ME.CoordinateMapKey",
    size: list[int],
    dilation: list[int],
) -> KernelMap:
    """The kernel map between two coordinate maps of a manager; built at the first call, found at later ones.

    The pairs are those of MinkowskiEngine: offsets are multiples of the fine map's tensor stride, centred for odd
    sizes and starting at 0 for even ones, with the first axis running fastest.
    """
    maps = known_of(manager).maps
    name = (hashable(fine), hashable(coarse), tuple(size), tuple(dilation))
    if name not in maps:
        symmetric = fine == coarse and all(edge % 2 == 1 for edge in size)
        offsets = kernel_offsets(size, dilation, fine.get_tensor_stride())
        rows = coordinates_of(manager, fine), coordinates_of(manager, coarse)
        maps[name] = KernelMap(operators, *rows, offsets, symmetric)
    return maps[name]


def coordinates_of(manager: "ME.CoordinateManager", key: "ME.CoordinateMapKey") -> Tensor:
    """int32 (M, 1 + D) of a coordinate map, the same tensor at every call: not to be written to."""
    known, name = known_of(manager).coordinates, hashable(key)
    if name not in known:
        known[name] = manager.get_coordinates(key)
    return known[name]


def insert_sites(
    manager: "ME.CoordinateManager", sites: Tensor, tensor_stride: list[int], name: str
) -> "ME.CoordinateMapKey":
    """Make a coordinate map of unique sites int32 (M, 1 + D); on the CPU they become its rows as they are."""
    if isinstance(manager, LateManager) and len(sites) and name not in names_at(manager, tensor_stride):
        key = manager.insert_later(sites, tensor_stride, name)
    else:
        key = manager.insert_and_map(sites, tensor_stride, name)[0]
    if sites.device.type == "cpu":
        known_of(manager).coordinates[hashable(key)] = sites
    return key


def kernel_offsets(size: list[int], dilation: list[int], tensor_stride: list[int]) -> Tensor:
    """int32 (K, D), in coordinate units, in the order of MinkowskiEngine's weights; not to be written to."""
    return _kernel_offsets(tuple(size), tuple(dilation), tuple(tensor_stride))


@cache
def _kernel_offsets(size: tuple[int, ...], dilation: tuple[int, ...], tensor_stride: tuple[int, ...]) -> Tensor:
    axes = [
        [(index - (edge // 2 if edge % 2 else 0)) * step * stride for index in range(edge)]
        for edge, step, stride in zip(size, dilation, tensor_stride, strict=True)
    ]
    return torch.tensor([offset[::-1] for offset in itertools.product(*reversed(axes))], dtype=torch.int32)


def hashable(key: "ME.CoordinateMapKey") -> tuple[tuple[int, ...], str]:
    """A key's tensor stride and name, which can be a key of a dictionary."""
    stride, name = key.get_key()
    return tuple(stride), name
