"""PointDistiller on MinkowskiEngine: small LiDAR 3D detectors trained from large ones.

The names in ``__all__`` are the stable Python interface; :mod:`mink_pd.api` documents them.
"""

from typing import TYPE_CHECKING, Any

from mink_pd import memory, threads  # noqa: F401  # before anything loads the libraries that they are about

if TYPE_CHECKING:
    from mink_pd.api import PointDetector, distill_detector, load_detector, train_detector
    from mink_pd.errors import MinkPDError

__version__ = "0.2.0"
__all__ = ["MinkPDError", "PointDetector", "__version__", "distill_detector", "load_detector", "train_detector"]


def __getattr__(name: str) -> Any:
    """Import the interface at its first use: torch and the rest take seconds, which ``mink-pd --help`` must not."""
    if name not in __all__:
        raise AttributeError(f"module 'mink_pd' has no attribute '{name}'")
    from mink_pd.memory import without_collection

    with without_collection():
        from mink_pd import api, errors
    return getattr(errors if name == "MinkPDError" else api, name)
