"""Coordinate maps that are derived from others, once for all networks on the same voxels.

Sites are geometry: they follow from the voxels and from a layer's kernel and stride, not from its weights. They are
therefore made before the layer and passed to it, and the next network with the same geometry reuses them.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mink_pd.native.operators import operators
from mink_pd.sparse.kernel_map import coordinates_of, hashable, insert_sites, kernel_offsets, known_of
from mink_pd.sparse.late_manager import names_at
from mink_pd.sparse.minkowski import ME, make_sparse
from mink_pd.sparse.voxels import Voxels, unique_sites

Bounds = tuple[tuple[int, ...], tuple[int, ...]]  # lowest and highest coordinate of each axis


def reached_sites(
    voxels: Voxels,
    source: "ME.CoordinateMapKey",
    kernel: Sequence[int],
    stride: Sequence[int],
    bounds: Bounds | None = None,
) -> "ME.CoordinateMapKey":
    """All sites of a tensor stride that a kernel reaches from the sites ``source``.

    A coarser stride gives the sites of a strided convolution that is active wherever any input lies under its kernel;
    a finer one spreads each site over the cells of a transposed convolution. ``bounds`` cut them to a grid.
    """
    name = (*hashable(source), tuple(kernel), tuple(stride), bounds)
    if name not in voxels.sites:
        finer = [min(old, new) for old, new in zip(source.get_tensor_stride(), stride, strict=True)]
        offsets = kernel_offsets(list(kernel), [1] * len(kernel), finer)
        sites = _reach(coordinates_of(voxels.manager, source), offsets, list(stride))
        if bounds is not None:
            low, high = (torch.tensor(limit, device=sites.device) for limit in bounds)
            sites = sites[((sites[:, 1:] >= low) & (sites[:, 1:] <= high)).all(dim=1)]
        voxels.sites[name] = insert_sites(voxels.manager, sites, list(stride), f"reached {len(voxels.sites)}")
    return voxels.sites[name]


def on_sites(features: Tensor, key: "ME.CoordinateMapKey", voxels: Voxels) -> "ME.SparseTensor":
    """Features (M, C) as a sparse tensor on one of the coordinate maps of ``voxels``."""
    return make_sparse(features, key, voxels.manager)


def holding(voxels: Voxels, sites: "ME.CoordinateMapKey", finer: "ME.CoordinateMapKey") -> Tensor:
    """For each site of ``finer``, a map with the same or a finer tensor stride, the row (P,) of the site of ``sites``
    whose cell contains it. There must be one.
    """
    name = ("holding", *hashable(sites), *hashable(finer))
    if name not in voxels.derived:
        both = [coordinates_of(voxels.manager, key) for key in (sites, finer)]  # (S, 1 + D), (P, 1 + D)
        count, cells = len(both[0]), torch.cat(both).long()
        step = torch.tensor(sites.get_tensor_stride(), device=cells.device)
        cells[:, 1:] = torch.div(cells[:, 1:], step, rounding_mode="floor")
        _, code = unique_sites(cells)
        row = torch.empty(len(cells), dtype=torch.int64, device=cells.device)
        row[code[:count]] = torch.arange(count, device=cells.device)
        voxels.derived[name] = row[code[count:]]
    return voxels.derived[name]


def _reach(coordinates: Tensor, offsets: Tensor, step: list[int]) -> Tensor:
    """int32 (S, 1 + D): coordinates (M, 1 + D) + offsets (K, D) that are multiples of ``step``, each once."""
    compiled = operators() if coordinates.device.type == "cpu" else None
    if compiled is not None:
        return compiled.grow(coordinates, offsets, step)
    reached = coordinates[:, None, 1:] + offsets.to(coordinates.device)  # (M, K, D)
    fits = (reached % torch.tensor(step, device=reached.device) == 0).all(dim=2)
    frame = coordinates[:, :1].expand(fits.shape)[fits]
    return torch.unique(torch.cat([frame[:, None], reached[fits]], dim=1), dim=0)


def strided_sites(
    manager: "ME.CoordinateManager", key: "ME.CoordinateMapKey", stride: Sequence[int]
) -> "ME.CoordinateMapKey":
    """The sites floor(c / stride): those that MinkowskiEngine gives a strided layer, under the same key.

    On the CPU the rows are in the order of the sites, where the manager's own are as its hash table has them: rows
    that a kernel joins then lie near each other in memory.
    """
    if all(step == 1 for step in stride):
        return key
    known, name = known_of(manager).strided, (hashable(key), *stride)
    if name not in known:
        known[name] = _make_strided(manager, key, stride)
    return known[name]


def _make_strided(
    manager: "ME.CoordinateManager", key: "ME.CoordinateMapKey", stride: Sequence[int]
) -> "ME.CoordinateMapKey":
    new = [old * step for old, step in zip(key.get_tensor_stride(), stride, strict=True)]
    compiled = operators()
    exists = key.get_key()[1] in names_at(manager, new)
    if exists or compiled is None or coordinates_of(manager, key).device.type != "cpu":
        return manager.stride(key, list(stride))
    return insert_sites(manager, compiled.strided(coordinates_of(manager, key), new), new, key.get_key()[1])


def grown_sites(
    operators: Any,
    manager: "ME.CoordinateManager",
    key: "ME.CoordinateMapKey",
    offsets: Tensor,
    tensor_stride: list[int],
    fresh: bool,
) -> "ME.CoordinateMapKey":
    """All sites of a tensor stride that the offsets (K, D) reach from a map's sites, as a map of their own.

    MinkowskiEngine makes them inside a convolution only, slowly, and with a kernel map that is of no use here. As
    there, the key's name is empty if it is the first of its stride, else a new one; with ``fresh`` false the first one
    is taken as it is.
    """
    names = names_at(manager, tensor_stride)
    if "" in names and not fresh:
        return ME.CoordinateMapKey(tensor_stride, "")
    numbered = (f"grown {number}" for number in itertools.count(len(names)))
    name = next(name for name in numbered if name not in names) if "" in names else ""
    sites = operators.grow(coordinates_of(manager, key), offsets, tensor_stride)
    return insert_sites(manager, sites, tensor_stride, name)


def seen_from_above(x: "ME.SparseTensor", flat: Voxels, levels: int, lowest: int) -> "ME.SparseTensor":
    """Stack the heights of a three-dimensional tensor (M, C): one site (S, C * levels) for each occupied x, y.

    The channel is C-major: c * levels + level, as in SECOND. ``flat`` are the columns of the tensor's voxels; level 0
    lies at z ``lowest`` and levels are one tensor stride apart.
    """
    stride, manager = x.tensor_stride, flat.manager
    name = (*hashable(x.coordinate_map_key), "seen from above")
    if name not in flat.sites:
        sites, row = unique_sites(x.C[:, :3])  # (S, 3), (M,)
        flat.sites[name] = insert_sites(manager, sites, stride[:2], f"above {len(flat.sites)}")
        _, order = unique_sites(coordinates_of(manager, flat.sites[name]))  # (S,): the map's rows in sorted order
        flat.derived[name] = order.argsort()[row]
    key, row = flat.sites[name], flat.derived[name]
    level = torch.div(x.C[:, 3] - lowest, stride[2], rounding_mode="floor").long()  # (M,)
    stacked = x.F.new_zeros(len(coordinates_of(manager, key)), levels, x.F.shape[1]).index_put(
        (row, level), x.F
    )  # (S, levels, C)
    features = stacked.transpose(1, 2).flatten(1)
    return on_sites(features, key, flat)
