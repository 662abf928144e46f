"""The compiled operators where they can be used."""

from typing import Any


def operators() -> Any | None:
    """``torch.ops.mink_pd``, or None where the plain path is to be taken; compiled at the first call if need be."""
    from mink_pd.sparse.native import library  # at need: "python -m mink_pd.sparse.native" must find it not imported

    return library()
