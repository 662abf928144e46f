"""Memory: page sizes, when freed memory is kept or returned to the system, and when Python collects garbage."""

import ctypes
import functools
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# torch asks the system for pages of 2 MB for large tensors, where it grants them on request (transparent huge pages).
# torch reads the variable when it first allocates such a tensor; the user's own setting is kept. Measured in turn by
# process time: a step of the 4x student takes 0.88 to 0.97 of the time, a distillation step 0.83 to 0.95.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# Arguments of glibc's mallopt: M_MMAP_THRESHOLD, the size from which a request gets its own mapping, and
# M_TRIM_THRESHOLD, the free memory at the end of the heap above which it is returned to the system.
_OWN_PAGES, _KEPT_FREE = (-3, 2**28), (-1, 2**29)


def keep_memory() -> None:
    """Keep the memory of freed tensors for reuse.

    With glibc's defaults a training step with small batches requests and returns 2,000 to 8,000 pages. In detection
    this takes up to a tenth of the time.
    """
    libc = _libc()
    if hasattr(libc, "mallopt"):
        for setting in (_OWN_PAGES, _KEPT_FREE):
            libc.mallopt(*setting)


def trim_memory() -> None:
    """Return freed memory to the system.

    Tensors of sparse frames differ in size at every step. glibc keeps the gaps between them, 0.1 to 0.4 MB per step.
    """
    libc = _libc()
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


@contextmanager
def without_collection() -> Iterator[None]:
    """Pause Python's garbage collector for code that makes many objects which stay, such as imports.

    The collector walks through the new objects, and through all objects whenever their number has grown by a quarter.
    While torch and this package are imported that takes 0.2 s of the 1.7 s from the start of a process to its first
    detection.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            if gc.get_freeze_count() == 0:  # moves the new objects to the oldest generation, where they would get
                gc.freeze()
                gc.unfreeze()
            gc.enable()


@functools.cache
def _libc() -> Any:
    """What this process has loaded, of which the C library is a part."""
    return ctypes.CDLL(None)
