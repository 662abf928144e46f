"""MinkowskiEngine for CUDA: what ``make setup CUDA=1`` looks for, checks and hands to the build. Standard library only.

Release 0.5.4 compiles unpatched with a current tool chain if nvcc is given ``minkowski_compat.h``, g++ finds Thrust,
and the headers and libraries that it asks for are in sight: the toolkit's, or those that torch's packages bring.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setup_progress import say
from setup_system import SetupError
from setup_target import Target

TOOLS = Path(__file__).resolve().parent
PINS = TOOLS.parent / "requirements-cuda.txt"
COMPATIBILITY = TOOLS / "minkowski_compat.h"
TORCH_CUDA = 13  # CUDA's major version in PyPI's build of the torch of requirements-cuda.txt
BUILD_MINUTES = 18  # one compiler, one architecture
FREE_GIB = 9  # torch with its CUDA libraries takes 5.5, the rest of the environment and the build 3
USUAL_HOME = Path("/usr/local/cuda")
HEADERS = {
    "cuSPARSE": "cusparse.h",
    "cuBLAS": "cublas_v2.h",
    "cuBLASLt": "cublasLt.h",
    "cuSOLVER": "cusolverDn.h",
    "Thrust": "thrust/version.h",
}
LIBRARIES = ("cudart", "cusparse")  # what the link step names


@dataclass(frozen=True)
class Toolkit:
    """An installed nvcc and its toolkit."""

    home: Path
    version: tuple[int, int]

    @property
    def nvcc(self) -> Path:
        return self.home / "bin" / "nvcc"

    @property
    def libraries(self) -> list[Path]:
        return [self.home / "lib64", self.home / "lib", *sorted(self.home.glob("targets/*/lib"))]

    def __str__(self) -> str:
        return f"{self.version[0]}.{self.version[1]}"


def include_folders(home: Path) -> list[Path]:
    """Where a toolkit may have its headers; conda's has them below ``targets``."""
    return with_cccl([home / "include", *sorted(home.glob("targets/*/include"))])


def with_cccl(includes: list[Path]) -> list[Path]:
    """Each folder, and the one below it where CUDA 13 keeps Thrust."""
    return [folder for include in includes for folder in (include, include / "cccl")]


def find_toolkit() -> Toolkit:
    """The CUDA toolkit that ``CUDA_HOME`` names, else that of the nvcc on the path, else the one in its usual place.

    Raises:
        SetupError: there is none, or its nvcc does not run.
    """
    on_path = shutil.which("nvcc")
    if os.environ.get("CUDA_HOME"):
        homes = [Path(os.environ["CUDA_HOME"])]
    else:  # the nvcc on the path can be a link, or a script far from its toolkit
        homes = [*([Path(on_path).resolve().parents[1]] if on_path else []), USUAL_HOME]
    whole = [home for home in homes if any((folder / "cuda_runtime.h").exists() for folder in include_folders(home))]
    home = next(iter(whole), homes[-1])
    nvcc = home / "bin" / "nvcc"
    advice = f"install NVIDIA's CUDA toolkit {TORCH_CUDA}, or name its folder: make setup CUDA=1 CUDA_HOME=..."
    if not nvcc.exists():
        raise SetupError(f"nvcc is missing ({nvcc} is not there): {advice}")
    try:
        printed = subprocess.run([str(nvcc), "--version"], capture_output=True, text=True).stdout
    except OSError as error:
        printed = str(error)
    found = re.search(r"release (\d+)\.(\d+)", printed)
    if found is None:
        raise SetupError(f"{nvcc} does not tell its version ({printed.strip()[:100]!r}): {advice}")
    return Toolkit(home, (int(found[1]), int(found[2])))


def split_architectures(text: str) -> tuple[str, ...]:
    """The compute capabilities of a list in torch's style, ``8.6;9.0+PTX`` or with spaces, each once, sorted."""
    return tuple(sorted(set(re.split(r"[;,\s]+", text.strip())) - {""}))


def gpu_architectures() -> tuple[str, ...]:
    """The compute capabilities of this machine's GPUs; empty if there is none."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    except OSError:
        return ()
    return split_architectures(" ".join(line for line in lines if re.fullmatch(r"\s*\d+\.\d+\s*", line)))


def choose_architectures(key: str, requested: bool) -> tuple[tuple[str, ...], str]:
    """What to build for and who says so; ``key`` is what the environment remembers.

    Where CUDA is asked for, ``TORCH_CUDA_ARCH_LIST`` counts, then the GPU that is here; else what the environment has
    stays, so that ``make test`` on a machine with another GPU or none compiles nothing.
    """
    kept = split_architectures(key.partition(" ")[2])  # "cpu" or "cuda 8.6;9.0"
    listed = split_architectures(os.environ.get("TORCH_CUDA_ARCH_LIST", ""))
    if kept and not requested:
        return kept, "as before"
    if listed:
        return listed, "from TORCH_CUDA_ARCH_LIST"
    found = gpu_architectures()
    return (found, "this machine's GPU") if found else (kept, "as before")


class CudaTarget(Target):
    """CUDA, for some architectures; see ``Target``."""

    pins = PINS
    inputs = (PINS, COMPATIBILITY, Path(__file__))
    options = ("--force_cuda", "--blas=openblas")
    gib_per_compiler = 4.0  # 3.6 seen
    loads = "import MinkowskiEngine, MinkowskiEngineBackend._C as backend; backend.CoordinateMapManagerGPU_c10"

    def __init__(self, key: str, requested: bool) -> None:
        self.architectures, self._source = choose_architectures(key, requested)
        self.key = f"cuda {';'.join(self.architectures)}"
        self._toolkit: Toolkit | None = None

    @property
    def toolkit(self) -> Toolkit:
        if self._toolkit is None:
            self._toolkit = find_toolkit()
        return self._toolkit

    @property
    def folder(self) -> str:
        """``cu130-sm86-sm90ptx``"""
        names = ["sm" + re.sub(r"[^a-z0-9]", "", name.lower()) for name in self.architectures]
        return "-".join([f"cu{self.toolkit.version[0]}{self.toolkit.version[1]}", *names])

    def minutes(self, jobs: int) -> float:
        """Proportional to the architectures, which is too much: g++'s part is done once."""
        return BUILD_MINUTES * len(self.architectures) / jobs

    def prepare(self, environment: Path, state: dict[str, Any] | None, pip_args: list[str]) -> None:
        pinned = PINS.read_text().split("torch==")[1].split()[0]
        installed = state is not None and (state["torch"] or "").partition("+")[0] == pinned
        problems = [*self.architecture_problems(), *_disk_problems(environment, installed)]
        try:
            if not problems:
                problems += self.compiler_problems()
            if state is not None and installed:
                problems += self._torch_problems(state)
            elif not pip_args and self.toolkit.version[0] != TORCH_CUDA:
                found = f"nvcc is {self.toolkit} ({self.toolkit.nvcc}), and PyPI's torch {pinned} for CUDA {TORCH_CUDA}"
                problems.append(f"{found}: {self._advice()}")
        except SetupError as error:
            problems.append(str(error))
        if problems:
            raise SetupError("\n".join(problems))
        say(f"CUDA: nvcc {self.toolkit} is {self.toolkit.nvcc}")
        say(f"CUDA: architectures {' '.join(self.architectures)} ({self._source})")
        if state is not None and installed:
            say(f"CUDA: torch {state['torch']} for CUDA {state['cuda']} is installed")
        else:
            say(f"CUDA: torch {pinned} will be installed, with CUDA's libraries: 3 GB to download, 5.5 GB on the disk")
        self._say_headers(state if installed else None)

    def environment(self, state: dict[str, Any], scratch: Path) -> dict[str, str]:
        problems = self._torch_problems(state)
        headers, libraries = self._headers(state), self._libraries(state)
        problems += [
            f"{what}'s header {HEADERS[what]} is missing, in {self.toolkit.home} and in torch's packages: "
            "install the toolkit's development files"
            for what, folder in headers.items()
            if folder is None
        ]
        problems += [
            f"lib{name}.so is missing, in {self.toolkit.home} and in torch's packages: install the toolkit's libraries"
            for name, file in libraries.items()
            if file is None
        ]
        if problems:
            raise SetupError("\n".join(problems))
        for name, file in libraries.items():  # torch's packages have them with a version's number only
            assert file is not None
            (scratch / f"lib{name}.so").symlink_to(file)
        # nvcc and torch name the toolkit's own include folder themselves, later in the order.
        folders = dict.fromkeys(str(folder) for folder in headers.values() if folder != self.toolkit.home / "include")
        # MinkowskiEngine has its own NVTX, which clashes with Thrust's.
        flags = f'-DCCCL_DISABLE_NVTX -DNVTX_DISABLE -include "{COMPATIBILITY}"'
        return {
            "CUDA_HOME": str(self.toolkit.home),
            "TORCH_CUDA_ARCH_LIST": ";".join(self.architectures),
            "NVCC_PREPEND_FLAGS": _before("NVCC_PREPEND_FLAGS", flags, " "),
            "CPATH": _before("CPATH", os.pathsep.join(folders), os.pathsep),
            "LIBRARY_PATH": _before("LIBRARY_PATH", str(scratch), os.pathsep),
        }

    def architecture_problems(self) -> list[str]:
        """What is wrong with the architectures, one line each."""
        if not self.architectures:
            return [
                "no GPU is found here to build for; name its compute capability: "
                "make setup CUDA=1 TORCH_CUDA_ARCH_LIST=8.6 (several: '8.0;9.0')"
            ]
        return [
            f"TORCH_CUDA_ARCH_LIST: {name} is no compute capability; write 8.6 or '8.0;9.0+PTX'"
            for name in self.architectures
            if not re.fullmatch(r"\d+\.\d[af]?(\+PTX)?", name)
        ]

    def compiler_problems(self) -> list[str]:
        """Whether nvcc compiles an empty file: it fails for a GPU or a g++ that it does not know."""
        if not shutil.which("g++"):
            return []  # to be installed with the system packages
        numbers = [name.removesuffix("+PTX").replace(".", "") for name in self.architectures]
        codes = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in numbers]
        command = [str(self.toolkit.nvcc), *codes, "-x", "cu", "-c", os.devnull, "-o", os.devnull]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return []
        lines = (done.stderr + done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        reason = next((line for line in lines if re.search("error|fatal", line)), lines[-1]).strip()[:160]
        return [
            f"nvcc {self.toolkit} cannot compile for {' '.join(self.architectures)} ({reason}): "
            "another TORCH_CUDA_ARCH_LIST, toolkit (CUDA_HOME) or g++ is needed"
        ]

    def _torch_problems(self, state: dict[str, Any]) -> list[str]:
        """Whether the installed torch is a build for nvcc's CUDA."""
        if state["cuda"] is None:
            return [f"torch {state['torch']} is a build for the CPU: PIP_ARGS must name an index with builds for CUDA"]
        if int(state["cuda"].split(".")[0]) == self.toolkit.version[0]:
            return []
        found = f"nvcc is {self.toolkit} ({self.toolkit.nvcc}), and torch {state['torch']} is for CUDA {state['cuda']}"
        return [f"{found}: {self._advice()}"]

    def _advice(self) -> str:
        return f"name a toolkit that fits, CUDA_HOME=..., or in PIP_ARGS an index with torch for CUDA {self.toolkit}"

    def _headers(self, state: dict[str, Any] | None) -> dict[str, Path | None]:
        """The folder of each header: the toolkit's, else that of torch's packages, else None."""
        packages = [root / "include" for root in _torch_packages(state)]
        folders = [*include_folders(self.toolkit.home), *with_cccl(packages)]
        return {
            what: next((folder for folder in folders if (folder / file).exists()), None)
            for what, file in HEADERS.items()
        }

    def _libraries(self, state: dict[str, Any]) -> dict[str, Path | None]:
        """The file of each library: the toolkit's, else that of torch's packages, else None."""
        files: dict[str, Path | None] = {}
        packages = [root / "lib" for root in _torch_packages(state)]
        for name in LIBRARIES:
            own = [folder / f"lib{name}.so" for folder in self.toolkit.libraries]
            numbered = [file for folder in packages for file in sorted(folder.glob(f"lib{name}.so*"))]
            files[name] = next((file for file in [*own, *numbered] if file.exists()), None)
        return files

    def _say_headers(self, state: dict[str, Any] | None) -> None:
        """Say where each header comes from; what the toolkit lacks comes with torch if that is not there yet."""
        origins: dict[str, list[str]] = {}
        for what, folder in self._headers(state).items():
            origins.setdefault(str(folder or "torch's packages"), []).append(what)
        for origin, names in origins.items():
            say(f"CUDA: headers of {', '.join(names)}: {origin}")


def _torch_packages(state: dict[str, Any] | None) -> list[Path]:
    """Folders with an ``include`` and a ``lib`` of CUDA's libraries, which torch's wheel depends on."""
    if state is None or state["site"] is None or state["cuda"] is None:
        return []
    nvidia = Path(state["site"]) / "nvidia"
    together = nvidia / f"cu{state['cuda'].split('.')[0]}"  # since CUDA 13; one folder a library before
    return [together, *(folder for folder in sorted(nvidia.glob("*")) if folder != together)]


def _disk_problems(environment: Path, installed: bool) -> list[str]:
    """Whether torch and the build fit on the disk."""
    folder = next(parent for parent in (environment, *environment.parents) if parent.exists())
    free = shutil.disk_usage(folder).free / 2**30
    if installed or free >= FREE_GIB:
        return []
    return [f"{folder}: {free:.1f} GiB are free and {FREE_GIB} are needed: make room, or name another folder, VENV=..."]


def _before(name: str, value: str, separator: str) -> str:
    """A value put before what an environment variable has already."""
    return separator.join(part for part in (value, os.environ.get(name, "")) if part)
