"""Numbers of threads of OpenMP (torch, MinkowskiEngine, spconv, our kernels) and of OpenBLAS (MinkowskiEngine)."""

import ctypes
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from time import perf_counter

import torch

from mink_pd.sparse import ME
from mink_pd.threads import cores

CORES = cores()


@dataclass(frozen=True)
class Threads:
    """Numbers of threads; None leaves a number as it is."""

    openmp: int | None = None
    openblas: int | None = None

    def __str__(self) -> str:
        names = {"OpenMP": self.openmp, "OpenBLAS": self.openblas}
        return ", ".join(f"{name} {count}" for name, count in names.items() if count is not None)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Set the numbers inside the context, and restore the previous ones after it."""
        before = current()
        _set(self)
        try:
            yield
        finally:
            _set(before)


UNCHANGED = Threads()
COUNTS = sorted({1, CORES})  # numbers that are tried to find a peer's fastest
OURS = Threads(openmp=CORES, openblas=1)  # set by importing mink_pd


def current() -> Threads:
    """The current numbers; None for OpenBLAS if it is not loaded."""
    blas = _openblas()
    return Threads(torch.get_num_threads(), blas.openblas_get_num_threads() if blas else None)


def best_of(work: Callable[[], object], choices: Sequence[Threads], repeats: int = 3) -> Threads:
    """The numbers of threads with which ``work`` is fastest."""

    def time(threads: Threads) -> float:
        with threads.applied():
            return milliseconds(work, repeats)

    return min(choices, key=time)


def milliseconds(work: Callable[[], object], repeats: int = 3) -> float:
    """The shortest time of several runs after a warm-up run."""
    work()
    times = []
    for _ in range(repeats):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return 1e3 * min(times)


def _set(threads: Threads) -> None:
    if threads.openmp is not None:
        torch.set_num_threads(threads.openmp)
    blas = _openblas()
    if blas and threads.openblas is not None:
        blas.openblas_set_num_threads(threads.openblas)


@cache
def _openblas() -> ctypes.CDLL | None:
    """The OpenBLAS that MinkowskiEngine is linked to.

    It is looked up from MinkowskiEngine's extension, because a process may hold other copies with functions of the same
    names, such as OpenCV's.
    """
    assert ME  # loaded
    library = ctypes.CDLL(sys.modules["MinkowskiEngineBackend._C"].__file__)
    return library if hasattr(library, "openblas_set_num_threads") else None
