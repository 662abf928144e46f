"""Peak memory of one call, as the operating system sees it."""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from mink_pd.memory import trim_memory

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_growth(work: Callable[[], Any], context: Callable[[], AbstractContextManager[Any]] = nullcontext) -> float:
    """The peak of the process's resident memory during ``work()`` minus its memory before [MB].

    All memory counts, whoever allocates it (torch, NumPy, a k-d tree, compiled code). First, freed memory is returned
    to the system and the kernel's high-water mark is reset (Linux, proc(5): clear_refs). Raises OSError if the kernel
    does not support this.
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
