"""Voxels of a batch on one coordinate map: what teacher and student share."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mink_pd.native.operators import operators
from mink_pd.sparse.kernel_map import insert_sites
from mink_pd.sparse.late_manager import coordinate_manager
from mink_pd.sparse.minkowski import ME, make_sparse

MOST_CELLS = 2**35  # of a batch's grid in the compiled path, whose bits then take 100 MB


@dataclass
class Voxels:
    """The occupied voxels (D = 3) or pillars (D = 2) of a batch, and the points in them.

    All networks that get the same ``Voxels`` work on the same coordinate map, so row i of their features is the same
    location. Sites that are derived from it (:mod:`mink_pd.sparse.sites`) are kept in ``sites`` by their geometry, and
    the next network reuses them. ``derived`` keeps other tensors that only depend on the points.

    coordinates: int32 (M, 1 + D), frame first, sorted; points: (P, 4), those inside the range; rows: int64 (P,), the
    voxel of each point; counts: int64 (M,), points a voxel; origin, size: (D,) [m], the range's lower corner and the
    edge lengths of a voxel; frames: how many frames the batch has, empty ones included.
    """

    coordinates: Tensor
    points: Tensor
    rows: Tensor
    counts: Tensor
    origin: Tensor
    size: Tensor
    frames: int
    manager: "ME.CoordinateManager"
    key: "ME.CoordinateMapKey"
    sites: dict[tuple[Hashable, ...], "ME.CoordinateMapKey"] = field(default_factory=dict)
    derived: dict[tuple[Hashable, ...], Tensor] = field(default_factory=dict)
    _columns: "Voxels | None" = None
    _limited: dict[int, "Voxels"] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.coordinates)

    def tensor(self, features: Tensor) -> "ME.SparseTensor":
        """Features (M, C) as a sparse tensor on the shared coordinate map."""
        return make_sparse(features, self.key, self.manager)

    def centres(self, coordinates: Tensor, stride: int) -> Tensor:
        """Centres (M, D) [m] of sites at a tensor stride, from their coordinates (M, 1 + D)."""
        return self.origin + (coordinates[:, 1:].to(self.origin.dtype) + stride / 2) * self.size

    def limited(self, most: int) -> "Voxels":
        """The same voxels with at most ``most`` points each, the first in the order of the file.

        Made once: all networks on these voxels share it.
        """
        if most not in self._limited:
            kept, counts = self.ranks() < most, self.counts.clamp(max=most)
            self._limited[most] = replace(
                self, points=self.points[kept], rows=self.rows[kept], counts=counts, derived={}, _limited={}
            )
        return self._limited[most]

    def ranks(self) -> Tensor:
        """Which of its voxel's points each point is, int64 (P,), counted from 0 in the order of the file."""
        order = self.rows.argsort(stable=True)
        begin = self.counts.cumsum(0) - self.counts  # (M,)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device) - begin[self.rows[order]]
        return rank

    def columns(self) -> "Voxels":
        """The same points in the columns of these voxels seen from above, with a coordinate manager of two dimensions.

        Made once: all networks on these voxels share it.
        """
        if self._columns is None:
            flat, column = unique_sites(self.coordinates[:, :3])
            counts = self.counts.new_zeros(len(flat)).index_add_(0, column, self.counts)
            manager, key, order = coordinate_map(flat, 2)
            flat, counts, column = _reorder(flat, counts, column, order)
            self._columns = Voxels(
                flat, self.points, column[self.rows], counts, self.origin[:2], self.size[:2], self.frames, manager, key
            )
        return self._columns


def grid_shape(bounds: tuple[float, ...], size: tuple[float, ...]) -> tuple[int, ...]:
    """Cells along x, y, z of a range (x, y, z from, x, y, z to) [m] for a voxel size [m]."""
    return tuple(max(1, round((bounds[3 + axis] - bounds[axis]) / size[axis])) for axis in range(3))


def voxelise(
    points: Tensor,
    frame: Tensor,
    frames: int,
    size: tuple[float, ...],
    bounds: tuple[float, ...],
    dimensions: int,
    first: tuple[int, ...] = (0, 0, 0),
) -> Voxels:
    """Sort points (P, 4+) into voxels of ``size`` [m] within ``bounds``; ``frame`` (P,) says which frame each is of.

    ``first`` are the coordinates of the cell at the range's lower corner. ``dimensions`` 2 gives pillars: one cell
    over the whole height. Indices are float32 true divisions, as published detectors compute them; another formula
    moves about 1 % of the points to a neighbour.
    """
    coordinates, points, rows, counts = into_cells(points, frame, frames, size, bounds, dimensions)
    lower = torch.tensor(bounds[:3], dtype=points.dtype, device=points.device)
    edge = torch.tensor(size, dtype=points.dtype, device=points.device)
    corner = torch.tensor(first, dtype=torch.int32, device=points.device)
    coordinates[:, 1:] += corner[:dimensions]
    manager, key, order = coordinate_map(coordinates, dimensions)
    coordinates, counts, rows = _reorder(coordinates, counts, rows, order)
    origin = (lower - edge * corner)[:dimensions]
    return Voxels(coordinates, points, rows, counts, origin, edge[:dimensions], frames, manager, key)


def into_cells(
    points: Tensor,
    frame: Tensor,
    frames: int,
    size: tuple[float, ...],
    bounds: tuple[float, ...],
    dimensions: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What :func:`voxelise` does before there is a coordinate map; arguments as there.

    Returns coordinates int32 (M, 1 + D) from 0 on, the points inside (P, 4+), their rows (P,) and counts (M,).
    """
    lower, edge, shape = _grid(points, size, bounds)
    compiled = operators() if _is_fast(points, frames, shape, dimensions) else None
    sort = sort_into_cells if compiled is None else compiled.voxelise
    return sort(points, frame, frames, lower, edge, shape, dimensions)


def in_grid(points: Tensor, size: tuple[float, ...], bounds: tuple[float, ...]) -> Tensor:
    """Which points (P, 3+) lie in a voxel: bool (P,). A range that is no multiple of the voxels reaches beyond them."""
    return _cells(points, *_grid(points, size, bounds))[1]


def _grid(points: Tensor, size: tuple[float, ...], bounds: tuple[float, ...]) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Lower corner (3,) and edges (3,) [m] with the type and device of the points, and cells along x, y, z."""
    lower, edge = (torch.tensor(x, dtype=points.dtype, device=points.device) for x in (bounds[:3], size))
    return lower, edge, grid_shape(bounds, size)


def _cells(points: Tensor, lower: Tensor, edge: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The cell of each point, int64 (P, 3), and whether there is one, bool (P,)."""
    cell = torch.floor((points[:, :3] - lower) / edge).long()
    return cell, ((cell >= 0) & (cell < torch.tensor(shape, device=cell.device))).all(dim=1)


def sort_into_cells(
    points: Tensor,
    frame: Tensor,
    frames: int,
    lower: Tensor,
    edge: Tensor,
    shape: tuple[int, ...],
    dimensions: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Coordinates (M, 1 + D), points inside (P, 4+), their rows (P,) and counts (M,) of :class:`Voxels`.

    This is what the compiled operator computes (``csrc/core/voxels.cpp``), to the bit, for other devices and types.
    """
    cell, inside = _cells(points, lower, edge, shape)
    cell, frame, points = cell[inside], frame[inside], points[inside]
    sizes = [0, *shape[:dimensions]]  # the leading one does not count
    code = encode_cells(torch.cat([frame[:, None], cell[:, :dimensions].long()], dim=1), sizes)
    unique, rows, counts = torch.unique(code, return_inverse=True, return_counts=True)
    return decode_cells(unique, sizes).int(), points, rows, counts


def _is_fast(points: Tensor, frames: int, shape: tuple[int, ...], dimensions: int) -> bool:
    """Whether the compiled operator takes these points; its memory is a five-hundredth byte a cell of the grid."""
    cells = frames * math.prod(shape[:dimensions])
    return points.device.type == "cpu" and points.dtype == torch.float32 and cells <= MOST_CELLS


def _reorder(coordinates: Tensor, counts: Tensor, rows: Tensor, order: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates and counts in a map's row order, and where each of ``rows`` is then."""
    if order is None:
        return coordinates, counts, rows
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    return coordinates[order], counts[order], rank[rows]


def unique_sites(coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates (M, 1 + D) >= 0 each once (U, 1 + D), sorted, and where every row is among them, int64 (M,).

    Ten times as fast as torch.unique over rows.
    """
    sizes = [int(size) + 1 for size in coordinates.amax(dim=0)] if len(coordinates) else []
    if not sizes:
        return coordinates, torch.zeros(0, dtype=torch.int64, device=coordinates.device)
    code, rows = torch.unique(encode_cells(coordinates, sizes), return_inverse=True)
    return decode_cells(code, sizes).to(coordinates.dtype), rows


def find_sites(sites: Tensor, wanted: Tensor) -> Tensor:
    """For each of the coordinates ``wanted`` (P, 1 + D), the row of the equal one among unique ``sites`` (S, 1 + D):
    int64 (P,), -1 if there is none."""
    if not len(sites) or not len(wanted):
        return torch.full((len(wanted),), -1, dtype=torch.int64, device=wanted.device)
    both = torch.cat([sites, wanted]).long()
    both -= both.amin(dim=0)
    code = encode_cells(both, (both.amax(dim=0) + 1).tolist())
    have, row = code[: len(sites)].sort()
    index = find_codes(have, code[len(sites) :])
    return torch.where(index < 0, index, row[index])


def find_codes(have: Tensor, wanted: Tensor) -> Tensor:
    """The index of each number of ``wanted`` (P,) in the sorted ``have`` (S,), S > 0: int64 (P,), -1 if absent."""
    index = torch.searchsorted(have, wanted).clamp(max=len(have) - 1)
    return torch.where(have[index] == wanted, index, -1)


def encode_cells(coordinates: Tensor, sizes: Sequence[int]) -> Tensor:
    """One number int64 (M,) for each row of coordinates (M, n), in the same order; column i is below ``sizes[i]``."""
    code = coordinates[:, 0].long()
    for axis, size in enumerate(sizes[1:], start=1):
        code = code * size + coordinates[:, axis]
    return code


def decode_cells(code: Tensor, sizes: Sequence[int]) -> Tensor:
    """The coordinates int64 (M, n) of ``encode_cells``."""
    columns = []
    for size in reversed(sizes[1:]):
        columns.append(code % size)
        code = torch.div(code, size, rounding_mode="floor")
    return torch.stack([code, *reversed(columns)], dim=1)


def coordinate_map(
    coordinates: Tensor, dimensions: int
) -> tuple["ME.CoordinateManager", "ME.CoordinateMapKey", Tensor | None]:
    """A coordinate manager with one map of these unique coordinates; the map's row order where it is not theirs."""
    manager = coordinate_manager(coordinates.is_cuda, dimensions)
    if len(coordinates) == 0:  # release 0.5.4 cannot insert nothing; detectors return early on such voxels
        return manager, ME.CoordinateMapKey(dimensions + 1), None
    stride = [1] * dimensions
    if not coordinates.is_cuda:
        return manager, insert_sites(manager, coordinates, stride, ""), None
    key, (order, _) = manager.insert_and_map(coordinates, stride, "")
    order = order.to(coordinates.device)
    identical = bool((order == torch.arange(len(order), device=order.device)).all())
    return manager, key, None if identical else order
