"""What a result depends on besides the configuration: versions, commit, device, threads, command line."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

from mink_pd.threads import cores

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


def describe(device: torch.device, notes: Sequence[str] = ()) -> str:
    """One ``name: value`` line per fact; ``notes``: what the training has told the user at its start."""
    facts = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "folder": str(Path.cwd()),
        "commit": commit(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "processors": str(cores()),
        "threads": str(torch.get_num_threads()),
        "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "unset"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "unset"),
        **{package: _version(package) for package in PACKAGES},
    }
    lines = [*facts.items(), *(("note", note) for note in notes)]
    return "".join(f"{name}: {value}\n" for name, value in lines)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """Commit of the checkout that the package runs from, marked if files have changed since."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
