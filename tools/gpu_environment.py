"""The stage ``build`` of ``tools/check_gpu.py``: an environment with MinkowskiEngine for this machine's GPU.

If MinkowskiEngine of the running Python works on the device, that Python is used. Otherwise this script makes an
environment that sees the packages of the running Python, installs the wheels of a folder in it, and builds
MinkowskiEngine against its torch. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from setup import probe, read_pins
from setup_cuda import CudaTarget
from setup_minkowski import PART, build_wheel, find_wheel, install_wheel, wheel_folder
from setup_progress import say
from setup_system import SetupError, check, has_openblas, pip, run_logged, stop_commands
from setup_target import Target

ROOT = Path(__file__).resolve().parents[1]
NEEDED = (
    "torch", "numpy", "scipy", "numba", "pydantic", "yaml", "rich", "safetensors", "lightning_fabric", "tensorboard",
    "pytest", "pytest_timeout", "ninja", "setuptools", "wheel",
)  # fmt: skip
BLAS = "scipy_openblas32"  # PyPI's build of OpenBLAS with headers, for machines without libopenblas-dev
CBLAS = ("sgemm", "dgemm", "saxpy", "daxpy")  # the functions that MinkowskiEngine calls
FINDS = "import importlib.util as u, json, sys; print(json.dumps([n for n in sys.argv[1:] if not u.find_spec(n)]))"
ADVICE = "run make setup CUDA=1, or copy wheels to a folder and name it with --wheels (docs/gpu.md)"


def prepare(device: str, folder: Path, wheels: Path | None) -> dict[str, Any]:
    """Find or make the environment; return its interpreter and lines for the report.

    Raises:
        SetupError: something is missing or cannot be built; one line for each problem.
    """
    target = CudaTarget("cuda", requested=True) if device == "cuda" else Target()
    here = Path(sys.executable)
    if not missing_modules(here) and serves(here, target):
        return {
            "python": str(here),
            "lines": [f"{here} has MinkowskiEngine for {target.key.split()[0]}; nothing was built."],
        }
    if isinstance(target, CudaTarget):
        require_toolkit(target)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    log.write_text("")
    python = create_environment(folder / "env")
    if wheels is not None:
        install_wheels(python, wheels, log)
    missing = missing_modules(python)
    if missing:
        raise SetupError(f"Python packages are missing: {', '.join(missing)}; {ADVICE}")
    lines = build(python, target, wheels, folder, log)
    return {"python": str(python), "lines": lines}


def serves(python: Path, target: Target) -> bool:
    """Whether an interpreter can load MinkowskiEngine for the target."""
    try:
        check(python, target.loads)
    except SetupError:
        return False
    return True


def require_toolkit(target: CudaTarget) -> None:
    """Raise SetupError if there is no GPU (nor TORCH_CUDA_ARCH_LIST) or no nvcc that can compile for it."""
    problems = target.architecture_problems() or target.compiler_problems()
    if problems:
        raise SetupError("\n".join(problems))
    say(f"CUDA: nvcc {target.toolkit} is {target.toolkit.nvcc}, architectures {' '.join(target.architectures)}")


def create_environment(folder: Path) -> Path:
    """Make a virtual environment that sees all packages of the running Python, even if that is in one; return its
    Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        run = subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", str(folder)], capture_output=True, text=True
        )
        if run.returncode != 0:
            raise SetupError(f"{folder}: no virtual environment can be made: {run.stderr.strip()[:200]}")
    site = Path(sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})["purelib"])
    seen = dict.fromkeys(path for path in sys.path if path.endswith(("site-packages", "dist-packages")))
    site.mkdir(parents=True, exist_ok=True)
    (site / "of_the_machine.pth").write_text("".join(f"{path}\n" for path in seen))
    tool = folder / "bin" / "pip"  # MinkowskiEngine's setup.py calls the first "pip" on the path
    tool.write_text(f'#!/bin/sh\nexec "{python}" -m pip "$@"\n')
    tool.chmod(0o755)
    return python


def install_wheels(python: Path, wheels: Path, log: Path) -> None:
    """Install every wheel of a folder, without a registry and without dependencies."""
    files = sorted(wheels.glob("*.whl"))
    if files:
        run_logged([*pip(python, "install"), "--no-index", "--no-deps", *files], log, "pip install of the wheels")


def missing_modules(python: Path) -> list[str]:
    """The required modules that an interpreter does not find."""
    run = subprocess.run([str(python), "-c", FINDS, *NEEDED], capture_output=True, text=True)
    return json.loads(run.stdout) if run.returncode == 0 else list(NEEDED)


def build(python: Path, target: Target, wheels: Path | None, folder: Path, log: Path) -> list[str]:
    """Compile MinkowskiEngine, unless its wheel exists from an earlier build, and our own library at the same time."""
    state = probe(python)
    if state is None or state["torch"] is None:
        raise SetupError(f"{python} has no torch")
    if not has_openblas():
        use_packaged_openblas(python, folder / "blas")
    version = read_pins()[PART]
    source = ["--no-index", "--find-links", str(wheels)] if wheels is not None else []
    start = time.monotonic()
    with ThreadPoolExecutor(1) as background:
        command, environment = [str(python), "-m", "mink_pd.native.build"], {**os.environ, "PYTHONPATH": str(ROOT)}
        what = "compiling mink_pd's operators"
        own = background.submit(run_logged, command, folder / "native.log", what, env=environment)
        kept = find_wheel(wheel_folder(state["torch"], state["tag"], target), version)
        wheel = kept or build_wheel(python, state, target, version, source)
        built = time.monotonic() - start
        own.result()
    install_wheel(python, target, wheel, log)
    how = "was kept from an earlier build" if kept else f"was built in {built:.0f} s"
    lines = [f"MinkowskiEngine {version} for {wheel.parent.name} {how}; all in {time.monotonic() - start:.0f} s."]
    if isinstance(target, CudaTarget):
        lines.append(f"nvcc {target.toolkit}, compute capability {' '.join(target.architectures)}.")
    return lines


def use_packaged_openblas(python: Path, folder: Path) -> None:
    """Make the compiler find the OpenBLAS of a Python package, whose functions have another prefix.

    Raises:
        SetupError: the package is missing, too.
    """
    code = f"import {BLAS} as b; print(b.get_include_dir()); print(b.get_lib_dir())"
    run = subprocess.run([str(python), "-c", code], capture_output=True, text=True)
    if run.returncode != 0:
        raise SetupError(f"OpenBLAS is missing: install libopenblas-dev, or copy the wheel of {BLAS} (docs/gpu.md)")
    include, library = (Path(line) for line in run.stdout.split("\n")[:2])
    folder.mkdir(parents=True, exist_ok=True)
    names = "".join(f"#define cblas_{name} scipy_cblas_{name}\n" for name in CBLAS)
    (folder / "cblas.h").write_text(f'#include "{include / "cblas.h"}"\n{names}')
    link = folder / "libopenblas.so"
    link.unlink(missing_ok=True)
    link.symlink_to(library / "libscipy_openblas.so")
    os.environ["CPATH"] = os.pathsep.join(part for part in (str(folder), os.environ.get("CPATH", "")) if part)
    os.environ["LDFLAGS"] = f"{os.environ.get('LDFLAGS', '')} -L{folder} -Wl,-rpath,{library}".strip()


def main() -> None:
    """Write the outcome to ``--json``. A failure prints one line per problem and exits with code 2."""
    arguments = argparse.ArgumentParser(description="Make an environment with MinkowskiEngine for a GPU.")
    arguments.add_argument("--device", choices=("cuda", "cpu"), required=True)
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--wheels", type=Path)
    arguments.add_argument("--json", type=Path, required=True)
    options = arguments.parse_args()

    def stop(number: int, frame: Any) -> NoReturn:
        stop_commands()
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        outcome = prepare(options.device, options.folder, options.wheels)
    except SetupError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    options.json.write_text(json.dumps({"ok": True, "figures": [], **outcome}))


if __name__ == "__main__":
    main()
