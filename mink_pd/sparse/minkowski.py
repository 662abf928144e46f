"""The one place that imports MinkowskiEngine. Thread settings: :mod:`mink_pd.threads`."""

import warnings
from typing import Any

from torch import Tensor

from mink_pd.errors import MinkPDError

try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says at every import that it was built for the CPU
        import MinkowskiEngine
except ImportError as error:
    raise MinkPDError(f"MinkowskiEngine cannot be imported ({error}); run make setup, which builds it") from error

ME = MinkowskiEngine

__all__ = ["ME", "make_sparse"]


def make_sparse(features: Tensor, key: Any, manager: Any) -> "MinkowskiEngine.SparseTensor":
    """Features (M, C) as a sparse tensor on a coordinate map of a manager."""
    return ME.SparseTensor(features, coordinate_map_key=key, coordinate_manager=manager)
