"""What a figure depends on besides the code: processor, threads, versions, load, and the speed of matrix products."""

import os
import platform
from importlib import metadata
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from benchmarks.thread_counts import CORES, Threads, current
from mink_pd.train.environment import commit

PACKAGES = ("torch", "MinkowskiEngine", "spconv", "numpy", "scipy", "numba", "shapely")
SIZE = 1024  # of the square matrices that sgemm multiplies


def describe() -> dict[str, Any]:
    """The "machine" of the JSON. Call it before anything else runs, because of the load average."""
    load = os.getloadavg()[0]
    threads = current()
    return {
        "processor": processor(),
        "vector_units": torch.backends.cpu.get_cpu_capability(),
        "cores": CORES,
        "load_at_start": load,
        "threads": {"torch": threads.openmp, "OpenMP": threads.openmp, "OpenBLAS": threads.openblas},
        "sgemm_gflops": {str(n): sgemm(n) for n in sorted({1, CORES})},
        "scalar_ms": scalar_milliseconds(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "commit": commit(),
    }


def processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def version(package: str) -> str | None:
    """Its version, None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def sgemm(threads: int, repeats: int = 15) -> float:
    """GFLOP/s (a multiply-add counts as two) of torch's float32 product of square matrices: the arithmetic limit."""
    a, b = torch.rand(2, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with Threads(openmp=threads).applied():
        return 2e-9 * SIZE**3 / min(_seconds(lambda: a @ b) for _ in range(repeats))


def scalar_milliseconds(repeats: int = 9) -> float:
    """The machine's time for compiled code with branches, by which times measured elsewhere are scaled.

    SciPy's k-d tree finds the 128 nearest neighbours of each of 4,000 cells of a plane, with two threads.
    """
    cells = np.random.default_rng(0).permutation(400 * 400)[:4000]
    positions = np.stack(np.divmod(cells, 400), axis=1) * 0.16

    def work() -> object:
        return cKDTree(positions).query(positions, k=128, workers=2)

    work()
    return 1e3 * median(_seconds(work) for _ in range(repeats))


def _seconds(work: Any) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start
