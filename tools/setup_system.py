"""Commands with a log, the cache folder, and the system's packages. Standard library only."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from setup_progress import PROGRESS, say


class SetupError(Exception):
    """The set-up cannot go on; the message is one line that says what to do."""


def cache_folder() -> Path:
    """Where logs and built wheels are kept, outside the checkout: ``MINK_PD_CACHE`` or the user's cache."""
    if os.environ.get("MINK_PD_CACHE"):
        return Path(os.environ["MINK_PD_CACHE"]).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mink_pd"


_running: set[subprocess.Popen[str]] = set()
_stopped = threading.Event()


def stop_commands() -> None:
    """Stop what :func:`run_logged` is running, in any thread, with all that it has started; it starts nothing more."""
    _stopped.set()
    for process in list(_running):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def run_logged(
    command: Sequence[str | Path],
    log: Path,
    what: str,
    follow: Callable[[str], None] = lambda line: None,
    env: dict[str, str] | None = None,
) -> None:
    """Run a command with its output in ``log``; ``follow`` is called with each line.

    Raises:
        SetupError: the command failed; the message names the log.
    """
    if _stopped.is_set():
        raise SetupError(f"{what} was stopped")
    with open(log, "a") as file:
        file.write("$ " + " ".join(shlex.quote(str(part)) for part in command) + "\n")
        file.flush()
        process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=env,
            text=True,
            errors="replace",
            start_new_session=True,  # its own process group, which stop_commands can end as a whole
        )
        _running.add(process)
        assert process.stdout is not None
        reason = ""
        for line in process.stdout:
            file.write(line)
            file.flush()
            follow(line)
            if not reason and re.search(r"\b(fatal )?error: |^E: ", line, re.IGNORECASE):
                reason = f" ({line.strip()[:160]})"
    code = process.wait()
    _running.discard(process)
    if code != 0:
        raise SetupError(f"{what} failed{reason}; the whole log is {log}")


def pip(python: Path, command: str) -> list[str | Path]:
    """The start of a pip command for an environment."""
    return [python, "-m", "pip", "--disable-pip-version-check", command]


def check(python: Path, code: str) -> None:
    """Raise SetupError unless a line of Python runs in the environment."""
    result = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
        raise SetupError(f"'{code}' fails with {python}: {reason[:200]}")


def has_library(name: str) -> bool:
    """Whether the dynamic loader finds a library. (The names of packages differ between releases.)"""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def has_openblas() -> bool:
    """True if a program that includes OpenBLAS's header compiles and links."""
    command = "g++ -x c++ -include cblas.h /dev/null -shared -o /dev/null -lopenblas"
    return shutil.which("g++") is not None and subprocess.run(command.split(), capture_output=True).returncode == 0


def has_vulkan_driver() -> bool:
    """True if any Vulkan driver is registered; Open3D renders off screen with it."""
    folders = ("/usr/share", "/usr/local/share", "/etc")
    return any(any(Path(folder, "vulkan/icd.d").glob("*.json")) for folder in folders)


def system_packages() -> dict[str, Callable[[], bool]]:
    """Debian's name of every package needed, and how to tell that it is there."""
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    header = Path(sysconfig.get_paths()["include"], "Python.h")
    return {
        "g++": lambda: shutil.which("g++") is not None,
        f"{python}-dev": header.exists,
        f"{python}-venv": lambda: importlib.util.find_spec("ensurepip") is not None,
        "libopenblas-dev": has_openblas,
        "libgomp1": lambda: has_library("libgomp.so.1"),
        "libegl1": lambda: has_library("libEGL.so.1"),
        "libgl1": lambda: has_library("libGL.so.1"),
        "libusb-1.0-0": lambda: has_library("libusb-1.0.so.0"),
        "libvulkan1": lambda: has_library("libvulkan.so.1"),
        "mesa-vulkan-drivers": has_vulkan_driver,
    }


def as_root() -> list[str] | None:
    """What to put before a command to run it as root: nothing, or sudo without a password; None: no way."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n"]
    return None


def missing_packages() -> list[str]:
    """Debian's names of the packages whose content is not on this machine."""
    return [name for name, present in system_packages().items() if not present()]


def install_system_packages(missing: list[str], log: Path) -> None:
    """Install packages with apt; nothing is done if none is missing.

    Raises:
        SetupError: apt is not there, not allowed, or failed.
    """
    if not missing:
        return
    root = as_root()
    if root is None or not shutil.which("apt-get"):
        raise SetupError(
            "system packages are missing; install them: sudo apt-get install --no-install-recommends "
            f"{' '.join(missing)} (Debian's names; to go on without them: make setup APT=skip)"
        )
    say(f"system packages: {' '.join(missing)}")
    PROGRESS.show("system packages", "installing system packages")
    apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]
    run_logged([*apt, "update"], log, "apt-get update")
    run_logged([*apt, "install", "-y", "--no-install-recommends", *missing], log, "apt-get install")
    PROGRESS.end("system packages")
