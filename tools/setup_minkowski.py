"""MinkowskiEngine: a wheel built against the installed torch, patched, kept and installed. Standard library only."""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import re
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from setup_cuda import CudaTarget
from setup_progress import PROGRESS, say
from setup_system import SetupError, cache_folder, check, pip, run_logged
from setup_target import Target, remembered

ROOT = Path(__file__).resolve().parents[1]
PART = "MinkowskiEngine"
SECONDS_TO_LINK = 15
GIB_FOR_OURS = 1.0  # a core, for our own compilers, which run at the same time


def minkowski_target(environment: Path, cuda: str) -> Target:
    """What to build for: what ``cuda`` says, 0 or 1, else (auto) what the environment was set up for before."""
    key = remembered(environment)
    if cuda == "0" or (cuda == "auto" and key == Target.key):
        return Target()
    return CudaTarget(key, requested=cuda == "1")


def wheel_folder(torch: str, tag: str, target: Target) -> Path:
    """The cache folder of wheels for a torch, Python and target: ``torch-2.13.0+cpu-cp311-cpu``."""
    return cache_folder() / "wheels" / f"torch-{torch}-{tag}-{target.folder}"


def find_wheel(folder: Path, version: str) -> Path | None:
    """The cached wheel of a MinkowskiEngine version for this machine's architecture."""
    return next(iter(sorted(folder.glob(f"minkowskiengine-{version}-*_{platform.machine()}.whl"))), None)


def may_be_cached(pins: dict[str, str], tag: str, target: Target) -> bool:
    """Whether a wheel is there for the torch that will be installed, of which only the public version is known."""
    folder = wheel_folder(pins["torch"], tag, target)
    like = f"torch-{pins['torch']}*-{tag}-{target.folder}"
    return any(find_wheel(found, pins[PART]) for found in folder.parent.glob(like))


def compiler_jobs(target: Target) -> int:
    """How many compilers may run side by side: ``MAX_JOBS``, else one a core, but no more than fit into the memory."""
    if os.environ.get("MAX_JOBS", "").isdecimal():
        return max(1, int(os.environ["MAX_JOBS"]))
    sys.path.append(str(ROOT))
    from mink_pd.threads import cores  # needs no package; not at the top, for an old Python must get its message first

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 - GIB_FOR_OURS * cores()
    return max(1, min(cores(), int(memory / target.gib_per_compiler)))


def build_wheel(python: Path, state: dict[str, Any], target: Target, version: str, pip_args: list[str]) -> Path:
    """Compile MinkowskiEngine against the installed torch; its cache folder gets the whole wheel or none.

    pip's own cache is not used: it would hand out a wheel that was built against another torch.

    Raises:
        SetupError: the build failed; the message names the log.
    """
    folder = wheel_folder(state["torch"], state["tag"], target)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    log.unlink(missing_ok=True)
    jobs = compiler_jobs(target)
    say(f"MinkowskiEngine {version}: compiling for {folder.name} ({jobs} jobs; the log is {log})")
    start = time.monotonic()
    usual = 60 * target.minutes(jobs)
    PROGRESS.expect(PART, usual)
    PROGRESS.show(PART, "preparing MinkowskiEngine")

    def follow(line: str) -> None:
        step = re.match(r"\s*\[(\d+)/(\d+)\]", line)
        if step:
            done, files = int(step[1]), int(step[2])
            elapsed, share = time.monotonic() - start, (done + (jobs - 1) / 2) / files  # the others are half done
            weight = share**0.5  # what the first files took says little about the rest
            PROGRESS.expect(PART, (1 - weight) * usual + weight * elapsed / share - elapsed + SECONDS_TO_LINK)
            PROGRESS.show(PART, f"MinkowskiEngine: {done} of {files} files compiled")

    # Its setup.py has the first "pip" on the path uninstall it: that must be the environment's.
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    options = [f"--config-settings=--global-option={option}" for option in target.options]
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as temporary:
            fresh = ["--no-cache-dir", "--no-build-isolation", "--no-deps"]
            command = [*pip(python, "wheel"), "-v", *fresh, *options, *pip_args, "-w", temporary]
            own = target.environment(state, Path(temporary))
            # PIP_USE_PEP517: before 25.3, pip hands the options to setup.py only so; later versions ignore it.
            environment = {**os.environ, "PATH": path, "MAX_JOBS": str(jobs), "PIP_USE_PEP517": "1", **own}
            command.append(f"MinkowskiEngine=={version}")
            run_logged(command, log, "the build of MinkowskiEngine", follow, environment)
            built = find_wheel(Path(temporary), version)
            if built is None:
                raise SetupError(f"the build of MinkowskiEngine left no wheel; the log is {log}")
            wheel = folder / built.name
            os.replace(built, wheel)
    finally:
        PROGRESS.end(PART)
    say(f"MinkowskiEngine {version}: built in {time.monotonic() - start:.0f} s, kept as {wheel}")
    return wheel


def patch_wheel(wheel: Path) -> None:
    """Make ``import MinkowskiEngine`` work: Python >= 3.10 has ``Sequence`` in ``collections.abc`` only.

    Release 0.5.4 is the last one. A wheel that needs no patch is left as it is.
    """
    with ZipFile(wheel) as archive:
        infos = archive.infolist()
        contents = {info.filename: archive.read(info) for info in infos}
    patched = {
        name: _patch(content)
        for name, content in contents.items()
        if name.endswith(".py") and _patch(content) != content
    }
    if not patched:
        return
    (record,) = (name for name in contents if name.endswith(".dist-info/RECORD"))
    lines = contents[record].decode().splitlines()
    lines = [_record(name, patched[name]) if (name := line.split(",")[0]) in patched else line for line in lines]
    contents |= patched | {record: "".join(f"{line}\n" for line in lines).encode()}
    temporary = wheel.with_suffix(".patched")
    with ZipFile(temporary, "w", ZIP_DEFLATED) as archive:
        for info in infos:
            archive.writestr(info, contents[info.filename])
    os.replace(temporary, wheel)


def _patch(source: bytes) -> bytes:
    """Python source that imports ``Sequence``, alone or with other names, from where it is."""
    right = b"from collections.abc import Sequence"
    source = re.sub(rb"^from collections import Sequence$", right, source, flags=re.MULTILINE)
    return re.sub(rb"^from collections import Sequence, ", right + b"\nfrom collections import ", source, flags=re.M)


def _record(name: str, content: bytes) -> str:
    """A line of a wheel's RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}"


def install_wheel(python: Path, target: Target, wheel: Path, log: Path) -> None:
    """Install a wheel of MinkowskiEngine and try to load it.

    Raises:
        SetupError: it does not install or load.
    """
    try:
        patch_wheel(wheel)
    except (OSError, ValueError, BadZipFile, zlib.error) as error:
        raise SetupError(f"{wheel} cannot be read: {error}") from None
    command = [*pip(python, "install"), "--force-reinstall", "--no-deps", "--no-index", wheel]
    run_logged(command, log, "pip install MinkowskiEngine")
    check(python, target.loads)
