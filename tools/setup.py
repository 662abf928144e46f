"""Set up mink_pd on this machine (``make setup``): idempotent, and quick when nothing has changed.

The steps: system packages, virtual environment, pinned Python packages, nuScenes' devkit without its own pins,
MinkowskiEngine built against the installed torch, the package itself. Only the standard library is used, for nothing is
installed yet.
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
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from setup_cuda import CudaTarget
from setup_system import SetupError, install_system_packages, missing_packages, run_logged, say
from setup_target import Target, remember, remembered

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


def cache_folder() -> Path:
    """Where logs and built wheels are kept, outside the checkout: ``MINK_PD_CACHE`` or the user's cache."""
    if os.environ.get("MINK_PD_CACHE"):
        return Path(os.environ["MINK_PD_CACHE"]).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mink_pd"


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
    files = [REQUIREMENTS, ROOT / "pyproject.toml", Path(__file__), *target.inputs]
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


def pip(python: Path, command: str) -> list[str | Path]:
    """The start of a pip command for an environment."""
    return [python, "-m", "pip", "--disable-pip-version-check", command]


def show_download(line: str) -> str | None:
    """Progress of pip: the large downloads, and the start of installing."""
    large = re.match(r"\s*Downloading ([^-\s]+-[^-\s]+)\S* \((\d{2,}(?:\.\d+)? MB|[\d.]+ GB)\)", line)
    if large:
        return f"  downloading {large[1]} ({large[2]})"
    packages = re.match(r"Installing collected packages: (.*)", line)
    return packages and f"  installing: {len(packages[1].split(', '))}"


def install_python_packages(python: Path, target: Target, pip_args: list[str], log: Path) -> None:
    """Install all pins but MinkowskiEngine's; pip itself first, for older ones cannot build that."""
    pins = read_pins(target)
    say(f"Python packages: {len(pins)} pins of {REQUIREMENTS.name}, and what they need")
    install = [*pip(python, "install"), *pip_args]
    run_logged([*install, f"pip=={pins['pip']}"], log, "pip install pip")
    rest = [f"{name}=={version}" for name, version in pins.items() if name not in ("MinkowskiEngine", DEVKIT)]
    run_logged([*install, *rest], log, "pip install", show_download)
    run_logged([*install, "--no-deps", f"{DEVKIT}=={pins[DEVKIT]}"], log, f"pip install {DEVKIT}")


# --- MinkowskiEngine ------------------------------------------------------------------------------


def minkowski_target(environment: Path, cuda: str) -> Target:
    """What to build for: what ``cuda`` says, 0 or 1, else (auto) what the environment was set up for before."""
    key = remembered(environment)
    if cuda == "0" or (cuda == "auto" and key == Target.key):
        return Target()
    return CudaTarget(key, requested=cuda == "1")


def wheel_folder(state: dict[str, Any], target: Target) -> Path:
    """The cache folder of wheels for this torch, Python and target: ``torch-2.13.0+cpu-cp311-cpu``."""
    return cache_folder() / "wheels" / f"torch-{state['torch']}-{state['tag']}-{target.folder}"


def find_wheel(folder: Path, version: str) -> Path | None:
    """The cached wheel of a MinkowskiEngine version for this machine's architecture."""
    return next(iter(sorted(folder.glob(f"minkowskiengine-{version}-*_{platform.machine()}.whl"))), None)


def compiler_jobs(target: Target) -> int:
    """How many compilers may run side by side: ``MAX_JOBS``, else one a core, but no more than fit into the memory."""
    if os.environ.get("MAX_JOBS", "").isdecimal():
        return max(1, int(os.environ["MAX_JOBS"]))
    sys.path.append(str(ROOT))
    from mink_pd.threads import cores  # needs no package; not at the top, for an old Python must get its message first

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return max(1, min(cores(), int(memory / target.gib_per_compiler)))


def build_wheel(python: Path, state: dict[str, Any], target: Target, version: str, pip_args: list[str]) -> Path:
    """Compile MinkowskiEngine against the installed torch; its cache folder gets the whole wheel or none.

    pip's own cache is not used: it would hand out a wheel that was built against another torch.

    Raises:
        SetupError: the build failed; the message names the log.
    """
    folder = wheel_folder(state, target)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    log.unlink(missing_ok=True)
    jobs = compiler_jobs(target)
    say(f"MinkowskiEngine {version}: compiling for {folder.name}, {target.duration(jobs)} ({jobs} jobs; log {log})")
    start = time.monotonic()

    def show_progress(line: str) -> str | None:
        step = re.match(r"\s*\[(\d+)/(\d+)\]", line)
        return step and f"  {step[1]:>2} of {step[2]} files compiled, {time.monotonic() - start:.0f} s"

    # Its setup.py has the first "pip" on the path uninstall it: that must be the environment's.
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    options = [f"--config-settings=--global-option={option}" for option in target.options]
    with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as temporary:
        fresh = ["--no-cache-dir", "--no-build-isolation", "--no-deps"]
        command = [*pip(python, "wheel"), "-v", *fresh, *options, *pip_args, "-w", temporary]
        own = target.environment(state, Path(temporary))
        environment = {**os.environ, "PATH": path, "MAX_JOBS": str(jobs), **own}
        command.append(f"MinkowskiEngine=={version}")
        run_logged(command, log, "the build of MinkowskiEngine", show_progress, environment)
        built = find_wheel(Path(temporary), version)
        if built is None:
            raise SetupError(f"the build of MinkowskiEngine left no wheel; the log is {log}")
        wheel = folder / built.name
        os.replace(built, wheel)
    say(f"MinkowskiEngine {version}: built in {time.monotonic() - start:.0f} s, kept as {wheel}")
    return wheel


def install_minkowski(python: Path, target: Target, pip_args: list[str], log: Path) -> None:
    """Install MinkowskiEngine from the cache, or build it; a cached wheel that does not load is built anew.

    Raises:
        SetupError: the build failed, or its result does not load.
    """
    state = probe(python)
    if state is None or state["torch"] is None:
        raise SetupError(f"torch is not installed for {python}; see {log}")
    version = read_pins()["MinkowskiEngine"]
    cached = find_wheel(wheel_folder(state, target), version)
    wheel = cached or build_wheel(python, state, target, version, pip_args)
    command = [*pip(python, "install"), "--force-reinstall", "--no-deps", "--no-index", wheel]
    try:
        run_logged(command, log, "pip install MinkowskiEngine")
        check(python, target.loads)
    except SetupError as error:
        if not cached:
            raise
        say(f"the cached {cached.name} is damaged, it is built anew: {error}")
        cached.unlink()
        install_minkowski(python, target, pip_args, log)


def check(python: Path, code: str) -> None:
    """Raise SetupError unless a line of Python runs in the environment."""
    result = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
        raise SetupError(f"'{code}' fails with {python}: {reason[:200]}")


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
        target.prepare(environment, probe(python), compiler_jobs(target), pip_args)
        install_system_packages([] if leave_system else missing_packages(), log)
        if venv != ACTIVE:
            create_environment(environment, log)
        remember(environment, target)
        install_python_packages(python, target, pip_args, log)
        install_minkowski(python, target, pip_args, log)
        check(python, LOADS_OPEN3D)
        run_logged(
            [*pip(python, "install"), "--no-deps", "--no-build-isolation", "-e", ROOT],
            log,
            "pip install -e .",
        )
        run_logged([python, "-m", "mink_pd.native.build"], log, "compiling the sparse convolution")
        state = probe(python)
        assert state is not None
        Path(state["prefix"], STAMP).write_text(fingerprint(state, target))
        say(f"done: {environment} ({target.key})")


def fail(message: str) -> NoReturn:
    """Print a line on stderr, or one for each thing that is missing, and exit with 2."""
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
