"""A coordinate manager that inserts its maps into MinkowskiEngine's tables when MinkowskiEngine first uses them.

Only MinkowskiEngine's own layers and functions look into these tables; the compiled path works on the coordinates
themselves. Insertion runs on one core: for the six maps of a SECOND-size encoder it took a tenth of a forward pass.
"""

from typing import Any

import torch
from torch import Tensor

from mink_pd.sparse.minkowski import ME


class LateManager(ME.CoordinateManager):
    """MinkowskiEngine's coordinate manager on the CPU, with maps that are inserted late."""

    def __init__(self, dimensions: int) -> None:
        self._late: dict[tuple[tuple[int, ...], str], Tensor] = {}
        threads = torch.get_num_threads()  # a manager sets OpenMP's number for the whole process
        super().__init__(D=dimensions, num_threads=threads, coordinate_map_type=ME.CoordinateMapType.CPU)

    @property
    def _manager(self) -> Any:
        """MinkowskiEngine's tables with all maps: what its classes and functions get their maps from."""
        while self._late:
            (stride, name), sites = next(iter(self._late.items()))
            self._tables.insert_and_map(sites, list(stride), name)
            del self._late[stride, name]
        return self._tables

    @_manager.setter
    def _manager(self, tables: Any) -> None:
        self._tables = tables

    def insert_later(self, sites: Tensor, tensor_stride: list[int], name: str) -> "ME.CoordinateMapKey":
        """The key of a new map whose rows are the unique sites int32 (M, 1 + D), M > 0. No map may have this key."""
        self._late[tuple(tensor_stride), name] = sites
        return ME.CoordinateMapKey(tensor_stride, name)

    def get_coordinates(self, coords_key_or_tensor_strides: Any) -> Tensor:
        """int32 (M, 1 + D) of a map, as a copy. It does not insert the map."""
        key = coords_key_or_tensor_strides
        if isinstance(key, ME.CoordinateMapKey):
            stride, name = key.get_key()
            if (tuple(stride), name) in self._late:
                return self._late[tuple(stride), name].clone()
        return super().get_coordinates(key)

    def late_names(self, tensor_stride: list[int]) -> list[str]:
        """The names of the maps of a tensor stride that are not inserted yet."""
        return [name for stride, name in self._late if stride == tuple(tensor_stride)]


def coordinate_manager(cuda: bool, dimensions: int) -> "ME.CoordinateManager":
    """A new manager for coordinates on the CPU or on the GPU, which inserts at once."""
    if not cuda:
        return LateManager(dimensions)
    threads = torch.get_num_threads()
    return ME.CoordinateManager(D=dimensions, num_threads=threads, coordinate_map_type=ME.CoordinateMapType.CUDA)


def names_at(manager: "ME.CoordinateManager", tensor_stride: list[int]) -> list[str]:
    """The names of all maps of a tensor stride, inserted or not."""
    late = isinstance(manager, LateManager)
    tables = manager._tables if late else manager._manager
    names = [key.get_key()[1] for key in tables.get_coordinate_map_keys(tensor_stride)]
    return [*names, *manager.late_names(tensor_stride)] if late else names
