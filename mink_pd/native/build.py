"""The compiled operators (``csrc/``): built once per machine, with the compiler that is installed.

``python -m mink_pd.native.build`` builds it at set-up; otherwise it is built at first use. Without a compiler, or
with ``MINK_PD_NATIVE=0``, MinkowskiEngine's own layers and torch do the work: the same results, slower.
``MINK_PD_ISA`` limits the instruction set (see ``isa.py``).
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mink_pd.errors import ConfigError, MinkPDError
from mink_pd.files import cache_folder, cache_folders
from mink_pd.native.isa import compiler_options
from mink_pd.threads import cores

SOURCES = Path(__file__).parent / "csrc"
# Contraction is named because results must not depend on a compiler's default.
FLAGS = ["-O3", "-std=c++20", "-ffp-contract=fast", "-fopenmp", "-fPIC", "-Wall", "-Wextra"]
LOG = "build.log"  # output of the compiler, next to the library


@functools.cache
def library() -> Any | None:
    """The compiled operators, or None where MinkowskiEngine and torch are to do the work.

    Raises ConfigError where ``MINK_PD_ISA`` asks for an instruction set that is unknown or not there.
    """
    if os.environ.get("MINK_PD_NATIVE", "1") == "0":
        return None
    try:
        path = library_path()
        if not path.exists():
            print("mink_pd: compiling its fast paths, once; this takes about a minute", file=sys.stderr)
            build()
        torch.ops.load_library(str(path))
    except ConfigError:  # of MINK_PD_ISA: what the user asked for is not to be replaced silently
        raise
    except (MinkPDError, OSError) as error:
        print(f"mink_pd: warning: {error}; using slower ones of MinkowskiEngine and torch", file=sys.stderr)
        return None
    return torch.ops.mink_pd


def library_path() -> Path:
    """Where the library for this torch, Python, processor, instruction set, compiler and source is or will be."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.rglob("*")):
        digest.update(source.read_bytes() if source.is_file() else b"")
    digest.update(" ".join([*flags(), str(compiler()), _processor()]).encode())
    version = f"torch{torch.__version__}-{sys.implementation.cache_tag}-{digest.hexdigest()[:16]}"
    name = Path("native") / version / "mink_pd.so"
    built = (folder / name for folder in cache_folders() if (folder / name).exists())
    return next(built, None) or cache_folder() / name


def flags() -> list[str]:
    """The compiler's options; raises ConfigError as :func:`mink_pd.native.isa.compiler_options` does."""
    return [*FLAGS, *compiler_options(), *sanitizers()]


def sanitizers() -> list[str]:
    """With ``MINK_PD_SANITIZE=1`` (``make sanitize``) the options that stop the process at its first bad access."""
    if os.environ.get("MINK_PD_SANITIZE", "0") != "1":
        return []
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    return [*checks, "-fno-omit-frame-pointer", "-g1", "-O1", "-D_GLIBCXX_ASSERTIONS"]


def compiler() -> str | None:
    """The C++ compiler's path: ``CXX``, c++, g++ or clang++; None if there is none."""
    candidates = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    return next((path for name in candidates if name and (path := shutil.which(name))), None)


def build() -> Path:
    """Compile the library unless another process just did; returns its path.

    Raises MinkPDError if there is no compiler or it fails (its output is kept in build.log next to the library).
    """
    path = library_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent / "lock"):
        if not path.exists():
            _compile(path)
    return path


def _compile(path: Path) -> None:
    from torch.utils import cpp_extension  # slow to import, and needed here only

    cxx = compiler()
    if cxx is None:
        raise MinkPDError("no C++ compiler found; install g++ or set CXX")
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    includes = [f"-I{SOURCES}", *(f"-isystem{folder}" for folder in cpp_extension.include_paths())]
    folders = [Path(folder) for folder in cpp_extension.library_paths()]
    # torch's own OpenMP, which may not be the system's: two thread pools in one process fight over the cores.
    openmp = [str(file) for folder in folders for file in folder.glob("libgomp*.so*")][:1] or ["-fopenmp"]
    libraries = [*(f"-L{folder}" for folder in folders), "-ltorch_cpu", "-lc10", *openmp]
    for stale in path.parent.glob("building-*"):  # left by a process that was killed; we hold the lock
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="building-") as scratch:
        plain = [*sorted(SOURCES.glob("core/*.cpp")), *sorted(SOURCES.glob("engine/*.cpp"))]
        sources = [*plain, _join_bindings(Path(scratch))]
        objects = [f"{source.stem}.o" for source in sources]
        commands = [[cxx, *flags(), abi, *includes, "-c", str(source)] for source in sources]
        with ThreadPoolExecutor(cores()) as pool:
            outputs = list(pool.map(partial(_run, folder=Path(scratch)), commands))
        link = [cxx, "-shared", *sanitizers(), *objects, "-o", path.name, *libraries]
        outputs.append(_run(link, Path(scratch)))
        (path.parent / LOG).write_text("".join(outputs))
        os.replace(Path(scratch) / path.name, path)


def _join_bindings(folder: Path) -> Path:
    """One file of all bindings: most of the time for each would go into torch's headers."""
    joined = folder / "all_bindings.cpp"
    joined.write_text("".join(f'#include "{source}"\n' for source in sorted(SOURCES.glob("bindings/*.cpp"))))
    return joined


def _run(command: list[str], folder: Path) -> str:
    """Run the compiler; returns what it said. Raises MinkPDError if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode != 0:
        log = folder.parent / LOG
        log.write_text(" ".join(command) + "\n" + said)
        raise MinkPDError(f"{log}: mink_pd's fast paths did not compile; see there")
    return said


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One builder at a time; the system lifts the lock of a process that dies."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _processor() -> str:
    """What -march=native looks at, so that a shared home directory serves several kinds of machine."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    wanted = ("flags", "Features", "model name", "CPU part")
    return platform.machine() + "".join(sorted({line for line in lines if line.startswith(wanted)}))


def main() -> None:
    """Build at set-up, saying what is done."""
    start = time.monotonic()
    try:
        path = library_path()
        if path.exists():
            print(f"fast paths: {path} is there")
            return
        print(f"fast paths: compiling with {compiler() or 'no compiler'} ...", flush=True)
        build()
    except MinkPDError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"fast paths: {path} in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
