"""Set up mink_pd on this machine (``make setup``): idempotent, and quick when nothing has changed.

The steps: system packages, virtual environment, torch; then the other pinned packages, nuScenes' devkit without its own
pins and the package itself, while MinkowskiEngine is built against the installed torch. Only the standard library is
used, for nothing is installed yet.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from setup_minkowski import (
    PART,
    build_wheel,
    compiler_jobs,
    find_wheel,
    install_wheel,
    may_be_cached,
    minkowski_target,
    wheel_folder,
)
from setup_progress import PROGRESS, duration, say
from setup_system import (
    SetupError,
    cache_folder,
    check,
    install_system_packages,
    missing_packages,
    pip,
    run_logged,
    stop_commands,
)
from setup_target import Target, remember

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements.txt"
PYTHONS = ((3, 11), (3, 12))  # the versions for which every pinned package has a wheel
DEVKIT = "nuscenes-devkit"  # installed alone: it pins an older shapely than we test with, and needs none of it here
STAMP = ".mink_pd_setup"  # written into the environment when all is done
ACTIVE = "none"  # VENV=none: use the environment that is active, a conda one for instance

# Prints what the environment of the running interpreter holds; imports nothing heavy.
PROBE = r"""
import importlib.util, json, pathlib, re, sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
spec = importlib.util.find_spec("torch")
text = (pathlib.Path(spec.origin).parent / "version.py").read_text() if spec and spec.origin else ""
found = re.search("__version__ = '([^']+)'", text)
cuda = re.search(r"^cuda\b.*= '([^']+)'", text, re.MULTILINE)
print(json.dumps({
    "python": "%d.%d.%d" % sys.version_info[:3], "tag": "cp%d%d" % sys.version_info[:2], "prefix": sys.prefix,
    "torch": found and found.group(1), "cuda": cuda and cuda.group(1),
    "site": spec and spec.origin and str(pathlib.Path(spec.origin).parents[1]),
    "versions": {name: version(name) for name in sys.argv[1:]}}))
"""
LOADS_OPEN3D = "import open3d"
FOR_BUILD = ("torch", "numpy", "setuptools", "wheel", "ninja")  # what MinkowskiEngine's build needs
PACKAGES_SECONDS = 150  # of all pins and our own compilation, on two cores
TORCH_SHARE = 0.4  # of that, before MinkowskiEngine's build can start


def read_pins(target: Target | None = None) -> dict[str, str]:
    """Name and version of every ``name==version`` line, with a target's own in their place."""
    files = [REQUIREMENTS, *([target.pins] if target and target.pins else [])]
    lines = [line.split("#")[0].strip() for file in files for line in file.read_text().splitlines()]
    return dict(line.split("==") for line in lines if line)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one set-up run at a time, so that two never build, or fill one environment, side by side."""
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up on this machine")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- virtual environment and Python packages ------------------------------------------------------


def probe(python: Path) -> dict[str, Any] | None:
    """What the environment holds (see ``PROBE``), or None if its interpreter is missing or does not run."""
    command = [str(python), "-c", PROBE, *read_pins(), "mink_pd"]
    try:
        return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    except (OSError, subprocess.CalledProcessError):
        return None


def fingerprint(state: dict[str, Any], target: Target) -> str:
    """One string for all that the set-up depends on; a change in any of it makes it run again."""
    own = sorted(Path(__file__).parent.glob("setup*.py"))
    files = [REQUIREMENTS, ROOT / "pyproject.toml", *own, *target.inputs]
    parts = [str(ROOT), target.key, json.dumps(state, sort_keys=True), *(file.read_text() for file in files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_done(python: Path, target: Target) -> bool:
    """True if the environment is as the last complete set-up left it, and of the running Python's version."""
    state = probe(python)
    if state is None or state["python"] != platform.python_version():
        return False
    stamp = Path(state["prefix"], STAMP)
    return stamp.exists() and stamp.read_text() == fingerprint(state, target)


def create_environment(venv: Path, log: Path) -> None:
    """Create the virtual environment; one of another Python version, or a broken one, is replaced.

    Raises:
        SetupError: ``venv`` is a folder of something else.
    """
    state = probe(venv / "bin" / "python")
    if state is not None and state["python"] == platform.python_version():
        return
    if venv.exists() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").exists():
        raise SetupError(f"{venv} is not a virtual environment: name another folder, make setup VENV=...")
    say(f"virtual environment: {venv} with Python {platform.python_version()}")
    run_logged([sys.executable, "-m", "venv", "--clear", venv], log, "python -m venv")


def follow_pip(line: str) -> None:
    """Show pip's large downloads, and that it installs."""
    large = re.match(r"\s*Downloading ([^-\s]+-[^-\s]+)\S* \((\d{2,}(?:\.\d+)? MB|[\d.]+ GB)\)", line)
    packages = re.match(r"Installing collected packages: (.*)", line)
    if large:
        PROGRESS.show("packages", f"downloading {large[1]} ({large[2]})")
    elif packages:
        PROGRESS.show("packages", f"installing {len(packages[1].split(', '))} packages")


def install_for_build(python: Path, pins: dict[str, str], pip_args: list[str], log: Path) -> None:
    """Install pip, which must be new enough to build MinkowskiEngine, and then what that build needs."""
    install = [*pip(python, "install"), *pip_args]
    run_logged([*install, f"pip=={pins['pip']}"], log, "pip install pip")
    run_logged([*install, *(f"{name}=={pins[name]}" for name in FOR_BUILD)], log, "pip install torch", follow_pip)


def install_python_packages(python: Path, pins: dict[str, str], pip_args: list[str], log: Path) -> None:
    """Install all pins but MinkowskiEngine's; what is there already stays."""
    install = [*pip(python, "install"), *pip_args]
    rest = [f"{name}=={version}" for name, version in pins.items() if name not in ("MinkowskiEngine", DEVKIT)]
    run_logged([*install, *rest], log, "pip install", follow_pip)
    run_logged([*install, "--no-deps", f"{DEVKIT}=={pins[DEVKIT]}"], log, f"pip install {DEVKIT}")
    check(python, LOADS_OPEN3D)


def install_ourselves(python: Path, log: Path) -> None:
    """Install mink_pd, as a link to this checkout, and compile its native library."""
    own = [*pip(python, "install"), "--no-deps", "--no-build-isolation", "-e", ROOT]
    run_logged(own, log, "pip install -e .")
    PROGRESS.show("packages", "compiling mink_pd's own library")
    run_logged([python, "-m", "mink_pd.native.build"], log, "compiling the sparse convolution")


# --- all together ---------------------------------------------------------------------------------


def require_python() -> None:
    """Raise SetupError unless the running Python has wheels of all pins."""
    if sys.version_info[:2] not in PYTHONS:
        wanted = " or ".join(f"{major}.{minor}" for major, minor in PYTHONS)
        here = f"{sys.executable} is {platform.python_version()}"
        raise SetupError(f"Python {wanted} is needed, {here}: name one, make setup PYTHON=python3.11")


def target_python(venv: str) -> Path:
    """The interpreter to set up: the virtual environment's, or with ``VENV=none`` the running one.

    Raises:
        SetupError: ``VENV=none`` outside any environment, where packages of the system would be overwritten.
    """
    if venv != ACTIVE:
        return (ROOT / venv).absolute() / "bin" / "python"
    if sys.prefix == sys.base_prefix and not os.environ.get("CONDA_PREFIX"):
        raise SetupError("VENV=none needs an active environment and there is none: conda activate mink_pd")
    return Path(sys.executable)


def setup(venv: str, apt: str, cuda: str, pip_args: list[str]) -> None:
    """Bring this machine to the state that the pins describe.

    Raises:
        SetupError: a step failed.
    """
    python = target_python(venv)
    environment = python.parents[1]
    target = minkowski_target(environment, cuda)
    leave_system = venv == ACTIVE or apt == "skip"
    missing = [] if leave_system else missing_packages()
    if not missing and is_done(python, target):
        say(f"nothing to do for {environment} ({target.key})")
        return
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    log = cache / "setup.log"
    with locked(cache):
        log.write_text("")
        say(f"the log is {log}")
        target.prepare(environment, probe(python), pip_args)
        say(estimate(probe(python), target, read_pins(target)))
        install_system_packages([] if leave_system else missing_packages(), log)
        if venv != ACTIVE:
            create_environment(environment, log)
        remember(environment, target)
        install(python, target, pip_args, log)
        state = probe(python)
        assert state is not None
        Path(state["prefix"], STAMP).write_text(fingerprint(state, target))
        say(f"done: {environment} ({target.key})")


def install(python: Path, target: Target, pip_args: list[str], log: Path) -> None:
    """Install everything; MinkowskiEngine compiles while the packages that it does not need are on their way.

    Raises:
        SetupError: a step failed; nothing runs on.
    """
    pins = read_pins(target)
    PROGRESS.show("packages", f"{len(pins)} pins of {REQUIREMENTS.name}, torch first")
    install_for_build(python, pins, pip_args, log)
    state = probe(python)
    if state is None or state["torch"] is None:
        raise SetupError(f"torch is not installed for {python}; see {log}")
    build = partial(build_wheel, python, state, target, pins["MinkowskiEngine"], pip_args)
    cached = find_wheel(wheel_folder(state["torch"], state["tag"], target), pins["MinkowskiEngine"])
    with ThreadPoolExecutor(1) as background:
        wheel = background.submit(lambda: cached or build())
        try:
            install_python_packages(python, pins, pip_args, log)
            if wheel.done():
                wheel.result()  # raises where the build has failed
            install_ourselves(python, log)
            PROGRESS.end("packages")
            wheel.result()
        except BaseException:
            stop_commands()
            raise
    try:
        install_wheel(python, target, wheel.result(), log)
    except SetupError as error:
        if cached is None:
            raise
        say(f"{cached.name} in the cache is damaged and is built again: {error}")
        cached.unlink()
        install_wheel(python, target, build(), log)


def packages_seconds(state: dict[str, Any] | None, pins: dict[str, str]) -> float:
    """About how long pip takes, and our own compilation."""
    installed = {} if state is None else state["versions"]
    missing = sum((installed.get(name) or "").partition("+")[0] != version for name, version in pins.items())
    return 20 + PACKAGES_SECONDS * missing / len(pins)


def estimate(state: dict[str, Any] | None, target: Target, pins: dict[str, str]) -> str:
    """How long the set-up will take; the line of progress starts from it."""
    seconds = packages_seconds(state, pins)
    PROGRESS.expect("packages", seconds)
    if may_be_cached(pins, f"cp{sys.version_info[0]}{sys.version_info[1]}", target):
        return f"this takes {duration(seconds)}, depending on the network; MinkowskiEngine's wheel is kept from before"
    jobs = compiler_jobs(target)
    build = 60 * target.minutes(jobs)
    total = max(seconds, TORCH_SHARE * seconds + build)
    PROGRESS.expect(PART, total)
    return (
        f"this takes {duration(total)}, depending on the network; {duration(build)} of them compile MinkowskiEngine,"
        f" {jobs} files at a time"
    )


def fail(message: str) -> NoReturn:
    """Print a line on stderr, or one for each thing that is missing, and exit with 2."""
    PROGRESS.clear()
    for line in message.splitlines():
        print(f"setup: error: {line}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Parse the command line; a failure is one line and exit code 2."""
    arguments = argparse.ArgumentParser(description="Set up mink_pd on this machine; 'make setup' calls it.")
    arguments.add_argument("--venv", default=".venv", help="its folder, or 'none' for the active environment")
    arguments.add_argument("--apt", choices=("auto", "skip"), default="auto", help="skip: no system packages")
    arguments.add_argument("--cuda", choices=("auto", "0", "1"), default="auto", help="auto: as it was before")
    arguments.add_argument("--pip-args", default="", help="further arguments of every pip install")
    options = arguments.parse_args()
    try:
        require_python()
        setup(options.venv, options.apt, options.cuda, shlex.split(options.pip_args))
    except SetupError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error} (logs and wheels go to {cache_folder()}; MINK_PD_CACHE names another folder)")
    except KeyboardInterrupt:
        fail("interrupted; run it again to go on")


if __name__ == "__main__":
    main()
