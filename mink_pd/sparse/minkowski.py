"""The one place that imports MinkowskiEngine, with what it needs to load.

Release 0.5.4 imports ``Sequence`` from ``collections``, where Python >= 3.10 no longer has it; the name is put back for
the time of the import. Thread settings: :mod:`mink_pd.threads`.
"""

import collections
import collections.abc
import warnings
from typing import Any

from torch import Tensor

_LOST_NAMES = ("Sequence", "Mapping", "Iterable", "Callable")
_put_back = [name for name in _LOST_NAMES if not hasattr(collections, name)]
for _name in _put_back:
    setattr(collections, _name, getattr(collections.abc, _name))
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says at every import that it was built for the CPU
        import MinkowskiEngine
finally:
    for _name in _put_back:
        delattr(collections, _name)

ME = MinkowskiEngine

__all__ = ["ME", "make_sparse"]


def make_sparse(features: Tensor, key: Any, manager: Any) -> "MinkowskiEngine.SparseTensor":
    """Features (M, C) as a sparse tensor on a coordinate map of a manager."""
    return ME.SparseTensor(features, coordinate_map_key=key, coordinate_manager=manager)
