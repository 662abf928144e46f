"""Peak memory of one call, as the operating system sees it."""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from mink_pd.memory import trim_memory

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_growth(work: Callable[[], Any], context: Callable[[], AbstractContextManager[Any]] = nullcontext) -> float:
    """How far ``work()`` raises the resident memory of the process above where it stood before [MB].

    All memory counts, whoever allocates it (torch, NumPy, a k-d tree, compiled code). Freed memory is given back to
    the system first and the kernel's high-water mark set to what is left (Linux, proc(5): clear_refs). Raises
    OSError where the kernel does not offer that.
    """
    with context():
        gc.collect()
        trim_memory()
        CLEAR.write_text("5")
        before = _status("VmRSS")
        result = work()
        peak = _status("VmHWM")
        del result
    return max(peak - before, 0) / 1024


def _status(name: str) -> int:
    """A line of /proc/self/status [kB]."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])
