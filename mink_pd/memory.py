"""How this process keeps and returns memory."""

import ctypes
import ctypes.util
import functools
from typing import Any

# glibc's mallopt: requests from this size on get pages of their own, and free memory above this size at the heap's end
# goes back to the system at once.
_OWN_PAGES, _KEPT_FREE = (-3, 2**28), (-1, 2**29)


def keep_memory() -> None:
    """Keep the memory of freed tensors for the next ones.

    With glibc's defaults a training step of small batches fetches and returns 2,000 to 8,000 pages, up to a tenth of
    a detection's time.
    """
    libc = _libc()
    if hasattr(libc, "mallopt"):
        for setting in (_OWN_PAGES, _KEPT_FREE):
            libc.mallopt(*setting)


def trim_memory() -> None:
    """Give freed memory back to the system.

    Tensors of sparse frames differ in size at every step; glibc keeps the holes between them, 0.1 to 0.4 MB a step.
    """
    libc = _libc()
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


@functools.cache
def _libc() -> Any:
    name = ctypes.util.find_library("c")
    return ctypes.CDLL(name) if name else None
