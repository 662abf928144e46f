"""What a result depends on beside the configuration: versions, commit, device, threads, command line."""

import ctypes
import ctypes.util
import functools
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from mink_pd.config import TrainConfig

PACKAGES = (
    "mink_pd",
    "torch",
    "MinkowskiEngine",
    "lightning-fabric",
    "numpy",
    "scipy",
    "numba",
    "safetensors",
)


def set_threads(config: TrainConfig) -> None:
    """Give torch (and the OpenMP it shares with MinkowskiEngine) the configured number of threads.

    By default processes on one machine share its cores.
    """
    most = max(1, (os.cpu_count() or 1) // config.devices)
    torch.set_num_threads(config.threads or min(torch.get_num_threads(), most))


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


def describe(device: torch.device) -> str:
    """One line a fact, ``name: value``."""
    facts = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "folder": str(Path.cwd()),
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "processors": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "unset"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "unset"),
        **{package: _version(package) for package in PACKAGES},
    }
    return "".join(f"{name}: {value}\n" for name, value in facts.items())


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """Commit of the checkout that the package is run from, marked if files have changed since."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
