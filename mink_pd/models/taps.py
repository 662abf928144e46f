"""Taps: named intermediate features that a detector exposes for distillation."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from mink_pd.models.site_pooling import ascends, cell_codes, pool
from mink_pd.points import PointSample
from mink_pd.sparse.minkowski import ME
from mink_pd.sparse.voxels import Voxels, find_sites

GROUND = -1.6  # z at which a site without points is shown, about the height of the road below KITTI's LiDAR [m]


class Tap(ABC):
    """Features whose rows have positions: the sites of a coordinate map, or points. Distillation sees only taps."""

    @property
    @abstractmethod
    def features(self) -> Tensor:
        """(M, C), in float32 at least: losses are too fine for half precision, in which a network may have computed"""

    @cached_property
    def largest(self) -> Tensor:
        """(M,), the largest channel of each row"""
        return self.features.amax(dim=1)

    @property
    @abstractmethod
    def frame(self) -> Tensor:
        """int64 (M,), the frame of each row"""

    @property
    @abstractmethod
    def frames(self) -> int:
        """Number of frames in the batch, including empty ones."""

    @property
    @abstractmethod
    def centres(self) -> Tensor:
        """(M, D) [m]"""

    @property
    @abstractmethod
    def points(self) -> Tensor:
        """(P, 4 or more), the points that the detector saw"""

    @abstractmethod
    def shares_rows(self, other: "Tap") -> bool:
        """Whether row i is at the same position in both."""

    @abstractmethod
    def rows_at(self, other: "Tap") -> Tensor | None:
        """The row of this tap at the location of each row of ``other``: int64 (M',), -1 if there is none.

        A lookup, without interpolation, for networks that see different points of the same frames. None if the
        locations of the two cannot be compared.
        """

    @abstractmethod
    def order(self) -> Tensor:
        """int64 (M,), the rows in an order that within a frame does not depend on the batch's other frames"""

    @abstractmethod
    def counts(self) -> Tensor:
        """(M,), number of points of each row"""

    @abstractmethod
    def carry(self, values: Tensor, target: "Tap") -> Tensor:
        """Values (M,) of these rows, carried to the rows of another tap of the network. If several values meet, the
        largest counts."""

    @abstractmethod
    def on_points(self, values: Tensor) -> Tensor:
        """Values (M,) of these rows at each of the points (P,)."""

    @abstractmethod
    def positions(self, rows: Tensor) -> Tensor:
        """Positions (n, 3) [m] at which to show rows (n,)"""


@dataclass
class SiteTap(Tap):
    """Sparse features on a coordinate map, and the voxels that they came from.

    late: computes the features when they are first read; None: they are those of ``tensor``.
    """

    tensor: "ME.SparseTensor"
    voxels: Voxels
    late: Callable[[], Tensor] | None = None

    @cached_property
    def features(self) -> Tensor:
        return _single(self.tensor.F if self.late is None else self.late())

    @property
    def coordinates(self) -> Tensor:
        """int32 (M, 1 + D), frame first"""
        return self.tensor.C

    @property
    def key(self) -> "ME.CoordinateMapKey":
        return self.tensor.coordinate_map_key

    @property
    def stride(self) -> int:
        return self.tensor.tensor_stride[0]

    @property
    def frame(self) -> Tensor:
        return self.coordinates[:, 0].long()

    @property
    def frames(self) -> int:
        return self.voxels.frames

    @property
    def centres(self) -> Tensor:
        return self.voxels.centres(self.coordinates, self.stride)

    @property
    def points(self) -> Tensor:
        return self.voxels.points

    def __str__(self) -> str:
        return str(self.key)

    def shares_rows(self, other: Tap) -> bool:
        if not isinstance(other, SiteTap):
            return False
        return self.key == other.key and self.tensor.coordinate_manager is other.tensor.coordinate_manager

    def rows_at(self, other: Tap) -> Tensor | None:
        if not isinstance(other, SiteTap) or self.tensor.tensor_stride != other.tensor.tensor_stride:
            return None
        return find_sites(self.coordinates, other.coordinates)

    def order(self) -> Tensor:
        codes = cell_codes(self.coordinates, 1)
        return torch.arange(len(codes), device=codes.device) if ascends(codes) else codes.argsort()

    def counts(self) -> Tensor:
        voxels = self.voxels
        counts = voxels.counts.to(self.features.dtype)
        return pool(counts, voxels.coordinates, 1, self.coordinates, self.stride, "sum")

    def carry(self, values: Tensor, target: Tap) -> Tensor:
        if isinstance(target, LevelsTap):
            return torch.cat([self.carry(values, level) for level in target.levels])
        assert isinstance(target, SiteTap)
        if self.shares_rows(target):
            return values
        return pool(values, self.coordinates, self.stride, target.coordinates, target.stride, "amax")

    def on_points(self, values: Tensor) -> Tensor:
        cells = pool(values, self.coordinates, self.stride, self.voxels.coordinates, 1, "amax")  # (voxels,)
        return cells[self.voxels.rows]

    def positions(self, rows: Tensor) -> Tensor:
        """Centres of the cells. A pillar is shown at the height of its highest point."""
        centres = self.centres[rows]
        if centres.shape[1] == 3:
            return centres
        voxels = self.voxels
        top = torch.full((len(voxels),), -torch.inf, device=centres.device)
        top.scatter_reduce_(0, voxels.rows, voxels.points[:, 2], "amax")
        heights = pool(top - GROUND, voxels.coordinates, 1, self.coordinates, self.stride, "amax")[rows] + GROUND
        return torch.cat([centres, heights[:, None]], dim=1)


@dataclass
class LevelsTap(Tap):
    """Features of several resolutions as one tap; the rows of the levels follow one another."""

    levels: list[SiteTap]

    @cached_property
    def features(self) -> Tensor:
        return torch.cat([level.features for level in self.levels])

    @property
    def frame(self) -> Tensor:
        return torch.cat([level.frame for level in self.levels])

    @property
    def frames(self) -> int:
        return self.levels[0].frames

    @property
    def centres(self) -> Tensor:
        return torch.cat([level.centres for level in self.levels])

    @property
    def points(self) -> Tensor:
        return self.levels[0].points

    def __str__(self) -> str:
        return ", ".join(map(str, self.levels))

    def shares_rows(self, other: Tap) -> bool:
        if not isinstance(other, LevelsTap) or len(other.levels) != len(self.levels):
            return False
        return all(ours.shares_rows(theirs) for ours, theirs in zip(self.levels, other.levels, strict=True))

    def rows_at(self, other: Tap) -> Tensor | None:
        if not isinstance(other, LevelsTap) or len(other.levels) != len(self.levels):
            return None
        found = []
        for own, level, start in zip(self.levels, other.levels, self._starts(), strict=True):
            rows = own.rows_at(level)
            if rows is None:
                return None
            found.append(torch.where(rows < 0, rows, rows + start))
        return torch.cat(found)

    def order(self) -> Tensor:
        order = torch.cat([
            level.order() + start for level, start in zip(self.levels, self._starts(), strict=True)
        ])  # fmt: skip
        return order[self.frame[order].argsort(stable=True)]

    def counts(self) -> Tensor:
        return torch.cat([level.counts() for level in self.levels])

    def carry(self, values: Tensor, target: Tap) -> Tensor:
        """Rows of a tap with the same levels keep their values."""
        if self.shares_rows(target):
            return values
        return torch.stack([level.carry(part, target) for level, part in self._parts(values)]).amax(dim=0)

    def on_points(self, values: Tensor) -> Tensor:
        return torch.stack([level.on_points(part) for level, part in self._parts(values)]).amax(dim=0)

    def positions(self, rows: Tensor) -> Tensor:
        result = rows.new_zeros((len(rows), 3), dtype=self.levels[0].centres.dtype)
        for level, start in zip(self.levels, self._starts(), strict=True):
            here = (rows >= start) & (rows < start + len(level.features))
            result[here] = level.positions(rows[here] - start)
        return result

    def _parts(self, values: Tensor) -> list[tuple[SiteTap, Tensor]]:
        parts = values.split([len(level.features) for level in self.levels])
        return list(zip(self.levels, parts, strict=True))

    def _starts(self) -> list[int]:
        """The first row of each level."""
        return list(accumulate((len(level.features) for level in self.levels[:-1]), initial=0))


@dataclass
class PointTap(Tap):
    """Features (F * N, C) of the points of a sample."""

    values: Tensor
    sample: PointSample

    @cached_property
    def features(self) -> Tensor:
        return _single(self.values)

    @property
    def frame(self) -> Tensor:
        return self.sample.frame

    @property
    def frames(self) -> int:
        return self.sample.frames

    @property
    def centres(self) -> Tensor:
        return self.points[:, :3]

    @property
    def points(self) -> Tensor:
        return self.sample.rows

    def __str__(self) -> str:
        return f"{len(self.values)} points"

    def shares_rows(self, other: Tap) -> bool:
        return isinstance(other, PointTap) and self.sample is other.sample

    def rows_at(self, other: Tap) -> Tensor | None:
        return None  # each network draws its own sample

    def order(self) -> Tensor:
        return torch.arange(len(self.values), device=self.values.device)

    def counts(self) -> Tensor:
        """All 1: each row is one point."""
        return torch.ones_like(self.values[:, 0])

    def carry(self, values: Tensor, target: Tap) -> Tensor:
        assert self.shares_rows(target)
        return values

    def on_points(self, values: Tensor) -> Tensor:
        return values

    def positions(self, rows: Tensor) -> Tensor:
        return self.centres[rows]


class RowsTap(Tap):
    """Some rows of a tap, as a tap."""

    def __init__(self, tap: Tap, rows: Tensor) -> None:
        """rows: int64 (n,), each at most once"""
        self._tap, self.rows, self._features = tap, rows, tap.features[rows]

    @property
    def features(self) -> Tensor:
        return self._features

    @property
    def frame(self) -> Tensor:
        return self._tap.frame[self.rows]

    @property
    def frames(self) -> int:
        return self._tap.frames

    @property
    def centres(self) -> Tensor:
        return self._tap.centres[self.rows]

    @property
    def points(self) -> Tensor:
        return self._tap.points

    def __str__(self) -> str:
        return f"{len(self.rows)} rows of {self._tap}"

    def shares_rows(self, other: Tap) -> bool:
        return isinstance(other, RowsTap) and self._tap.shares_rows(other._tap) and torch.equal(self.rows, other.rows)

    def rows_at(self, other: Tap) -> Tensor | None:
        rows = self._tap.rows_at(other)
        if rows is None:
            return None
        return torch.where(rows < 0, rows, self._selected_number()[rows])

    def order(self) -> Tensor:
        order = self._selected_number()[self._tap.order()]  # (M,)
        return order[order >= 0]

    def counts(self) -> Tensor:
        return self._tap.counts()[self.rows]

    def carry(self, values: Tensor, target: Tap) -> Tensor:
        return self._tap.carry(self._spread(values), target)

    def on_points(self, values: Tensor) -> Tensor:
        return self._tap.on_points(self._spread(values))

    def positions(self, rows: Tensor) -> Tensor:
        return self._tap.positions(self.rows[rows])

    def _selected_number(self) -> Tensor:
        """For each row of the whole tap its number among the selected rows: int64 (M,), -1 if it is not selected."""
        numbers = self.rows.new_full((len(self._tap.features),), -1)
        numbers[self.rows] = torch.arange(len(self.rows), device=self.rows.device)
        return numbers

    def _spread(self, values: Tensor) -> Tensor:
        """Values (n,) of these rows as values (M,) of the whole tap's, 0 for the others."""
        return values.new_zeros(len(self._tap.features)).index_copy(0, self.rows, values)


def _single(features: Tensor) -> Tensor:
    return features.float() if features.itemsize < 4 else features
