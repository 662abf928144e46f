"""Number of cores, and the thread settings of OpenMP and OpenBLAS, applied when ``mink_pd`` is imported.

The libraries read their settings once, when they load: before torch, if ``mink_pd`` is imported first. After torch,
:func:`outnumber_cores` gives the waiting policy in another way. Environment variables that the user has set are kept.
"""

import ctypes
import math
import os
import sys
import threading
import warnings
from pathlib import Path


def cores() -> int:
    """Number of cores that this process may use, at least 1.

    This is the size of its CPU affinity (taskset, cpuset), limited by the CPU quota of its control groups (containers,
    batch systems), rounded up.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, quota())))


def quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Cores' worth of CPU time that the control groups of this process allow; infinity without a limit.

    root: mount point of the control groups. own: the kernel's list of the groups of this process, in the format of
    version 2 (``0::/path``) or 1 (``4:cpu,cpuacct:/path``). The limits of all parent groups apply too.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return math.inf
    limits = [math.inf]
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / controllers if controllers else root
        group = top / path.strip("/")
        for folder in (group, *group.parents):  # a container may see its own group as the root
            limits.append(_limit(folder))
            if folder == top:
                break
    return min(limits)


def _limit(folder: Path) -> float:
    """The CPU limit of one control group, of either version."""
    try:
        if (folder / "cpu.max").exists():
            most, period = (folder / "cpu.max").read_text().split()
        else:
            most = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return math.inf if most in ("max", "-1") else int(most) / int(period)
    except (OSError, ValueError):
        return math.inf


def outnumber_cores() -> bool:
    """Make the threads of an OpenMP library that has been loaded already sleep soon when they are idle.

    libgomp reads the waiting policy once, and has no call that changes it. But it cuts the spinning of idle threads
    from 300,000 rounds to 100 while the process has more OpenMP threads than cores (``gomp_throttled_spin_count_var``
    in its config/linux/wait.h). One parallel region on more threads than cores, whose threads are kept, is therefore
    enough: they sleep from then on. Measured on two cores at load 8, 300 additions on two threads, one every 2 ms:
    1.7 s of CPU time and 10 s become 0.03 s and 0.8 s, as with the passive policy.

    Returns whether that was possible: not with another OpenMP library than libgomp.
    """
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
        paths = {line.split(maxsplit=5)[5] for line in lines if "/libgomp" in line}
        libraries = [ctypes.CDLL(path) for path in sorted(paths)]
        nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)  # free(NULL): what each thread does
        for library in libraries:
            threads = ctypes.c_uint(library.omp_get_num_procs() + 1)
            done = threading.Event()
            # The threads belong to the one that started the region, and end with it.
            threading.Thread(target=_keep_region, args=(library, nothing, threads, done), daemon=True).start()
            done.wait()
        return bool(libraries)
    except (OSError, IndexError, AttributeError):
        return False


def _keep_region(
    library: ctypes.CDLL, function: ctypes.c_void_p, threads: ctypes.c_uint, done: threading.Event
) -> None:
    library.GOMP_parallel(function, None, threads, ctypes.c_uint(0))
    done.set()
    threading.Event().wait()


# OpenBLAS's own threads make MinkowskiEngine's many small matrix products slow and erratic, by a factor of 2 to 10 on
# two cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", str(cores()))  # MinkowskiEngine warns if it is not set
# Idle threads must sleep rather than spin: a spinning thread takes the core from another thread, a data loader's worker
# or another program. Measured: one training step of the 4x student (batch size 2, two threads) on two cores shared with
# other work (load 4 to 12), median of each run: 17.9 s with libgomp's default, 5.9 s with GOMP_SPINCOUNT=30000 (one run
# each), 0.6 to 2.5 s with 1000, 0.4 to 1.1 s with the passive policy (four runs each). A single thread takes 0.9 to
# 1.0 s there. On idle cores spinning gains little: SECOND's encoder takes 83 ms either way, detection with the 4x
# student 38 ms passive and 36 ms active (medians).
if "torch" in sys.modules and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys() and not outnumber_cores():
    warnings.warn(
        "torch was imported before mink_pd: its idle threads spin, which makes mink_pd up to five times slower on a"
        " busy machine. Import mink_pd first, or set the environment variable OMP_WAIT_POLICY=passive.",
        RuntimeWarning,
        stacklevel=3,
    )
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
