"""What make setup CUDA=1 finds, refuses and hands to the build, on made-up toolkits and environments."""

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"
sys.path.insert(0, str(TOOLS))
import setup as tool  # noqa: E402
import setup_cuda  # noqa: E402
import setup_minkowski  # noqa: E402
import setup_system  # noqa: E402
import setup_target  # noqa: E402

TORCH = tool.read_pins(setup_cuda.CudaTarget("cuda 8.6", requested=False))["torch"]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without CUDA, whose only folder of programs is empty; returns that folder."""
    for name in ("CUDA_HOME", "TORCH_CUDA_ARCH_LIST", "CPATH", "LIBRARY_PATH", "NVCC_PREPEND_FLAGS", "MAX_JOBS"):
        monkeypatch.delenv(name, raising=False)
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(setup_cuda, "USUAL_HOME", tmp_path / "usual")
    return programs


def program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def toolkit(home: Path, version: str = "13.0", fails: str = "") -> Path:
    """nvcc, its runtime's headers and Thrust, as the smallest toolkits have them; ``fails``: what nvcc says."""
    tells = f'[ "$1" = --version ] && echo "Cuda compilation tools, release {version}, V{version}.88" && exit'
    program(home / "bin" / "nvcc", f'{tells}\n[ -z "{fails}" ] || {{ echo "{fails}" >&2; exit 1; }}')
    touch(home / "include" / "cuda_runtime.h", home / "include" / "cccl" / "thrust" / "version.h")
    touch(home / "lib64" / "libcudart.so")
    return home


def environment_state(site: Path, version: str = f"{TORCH}+cu130", cuda: str | None = "13.0") -> dict[str, Any]:
    """What ``probe`` tells of an environment, with the libraries that torch's packages bring."""
    packages = site / "nvidia" / "cu13"
    touch(*(packages / "include" / f"{name}.h" for name in ("cusparse", "cublas_v2", "cublasLt", "cusolverDn")))
    touch(packages / "lib" / "libcusparse.so.12", packages / "lib" / "libcudart.so.13")
    return {"torch": version, "cuda": cuda, "site": str(site), "tag": "cp311"}


def target(architectures: str = "8.6") -> setup_cuda.CudaTarget:
    return setup_cuda.CudaTarget(f"cuda {architectures}", requested=False)


# --- finding ---------------------------------------------------------------------------------------


def test_the_toolkit_is_looked_for_in_order(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, linked, named = (toolkit(tmp_path / name) for name in ("usual", "linked", "named"))
    assert setup_cuda.find_toolkit().home == usual
    (machine / "nvcc").symlink_to(linked / "bin" / "nvcc")
    assert setup_cuda.find_toolkit().home == linked
    monkeypatch.setenv("CUDA_HOME", str(named))
    assert setup_cuda.find_toolkit() == setup_cuda.Toolkit(named, (13, 0))


def test_a_script_that_calls_nvcc_elsewhere_is_no_toolkit(machine: Path, tmp_path: Path) -> None:
    program(machine / "nvcc", "exec elsewhere/nvcc")
    usual = toolkit(tmp_path / "usual", "12.8")
    assert setup_cuda.find_toolkit() == setup_cuda.Toolkit(usual, (12, 8))


def test_without_nvcc_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(setup_system.SetupError, match=r"usual/bin/nvcc is not there.*toolkit 13.*CUDA_HOME") as error:
        setup_cuda.find_toolkit()
    assert "\n" not in str(error.value)
    toolkit(tmp_path / "usual")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "typo"))  # what was asked for counts, not the usual place
    with pytest.raises(setup_system.SetupError, match="typo/bin/nvcc is not there"):
        setup_cuda.find_toolkit()


def test_an_nvcc_that_is_none_is_refused(tmp_path: Path) -> None:
    program(toolkit(tmp_path / "usual") / "bin" / "nvcc", "echo hello")
    with pytest.raises(setup_system.SetupError, match=r"does not tell its version.*hello"):
        setup_cuda.find_toolkit()


def test_architectures_are_split_sorted_and_named_once() -> None:
    assert setup_cuda.split_architectures("9.0+PTX;8.6 8.6") == ("8.6", "9.0+PTX")
    assert setup_cuda.split_architectures("") == ()


def test_who_decides_the_architectures(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = setup_cuda.choose_architectures
    assert choose("cpu", requested=True)[0] == ()
    assert choose("cuda 7.5", requested=True)[0] == ("7.5",)
    program(machine / "nvidia-smi", "echo 8.9; echo 8.9; echo '[N/A]'")
    assert choose("cuda 7.5", requested=True) == (("8.9",), "this machine's GPU")
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0 9.0")
    assert choose("cuda 7.5", requested=True) == (("8.0", "9.0"), "from TORCH_CUDA_ARCH_LIST")
    assert choose("cuda 7.5", requested=False)[0] == ("7.5",)


# --- targets ---------------------------------------------------------------------------------------


def test_an_environment_stays_what_it_was_set_up_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert setup_minkowski.minkowski_target(tmp_path, "auto").key == "cpu"
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.6")
    chosen = setup_minkowski.minkowski_target(tmp_path, "1")
    assert chosen.key == "cuda 8.6"
    setup_target.remember(tmp_path, chosen)
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST")
    assert setup_minkowski.minkowski_target(tmp_path, "auto").key == "cuda 8.6"
    assert setup_minkowski.minkowski_target(tmp_path, "0").key == "cpu"


def test_wheels_for_another_cuda_gpu_or_the_cpu_have_other_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINK_PD_CACHE", str(tmp_path / "cache"))
    toolkit(tmp_path / "usual")

    def name(chosen: setup_target.Target) -> str:
        return setup_minkowski.wheel_folder("2.14.1+cu130", "cp311", chosen).name

    names = [name(target(text)) for text in ("8.6", "9.0;8.6", "8.6+PTX", "9.0a")]
    assert names[:2] == ["torch-2.14.1+cu130-cp311-cu130-sm86", "torch-2.14.1+cu130-cp311-cu130-sm86-sm90"]
    toolkit(tmp_path / "usual", "13.1")
    names += [name(target()), name(setup_target.Target())]
    assert len(set(names)) == len(names)


def test_the_fingerprint_tells_targets_apart(tmp_path: Path) -> None:
    state = environment_state(tmp_path)
    found = {tool.fingerprint(state, chosen) for chosen in (target(), target("9.0"), setup_target.Target())}
    assert len(found) == 3


# --- refusing, before anything is downloaded -------------------------------------------------------


def prepare_error(tmp_path: Path, chosen: setup_cuda.CudaTarget, state: Any = None, pip_args: Any = ()) -> list[str]:
    with pytest.raises(setup_system.SetupError) as error:
        chosen.prepare(tmp_path / "venv", state, list(pip_args))
    return str(error.value).splitlines()


def test_all_that_is_missing_is_named_one_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_cuda, "FREE_GIB", 1e9)
    lines = prepare_error(tmp_path, setup_cuda.CudaTarget("cpu", requested=True))
    assert len(lines) == 3
    for line, wanted in zip(lines, ("TORCH_CUDA_ARCH_LIST=8.6", "GiB are free", "nvcc is missing"), strict=True):
        assert wanted in line


def test_a_misspelt_architecture_is_named(tmp_path: Path) -> None:
    toolkit(tmp_path / "usual")
    (line,) = prepare_error(tmp_path, target("8.6;Ampere"))
    assert line.startswith("TORCH_CUDA_ARCH_LIST: Ampere is no compute capability; write 8.6")


def test_nvcc_of_another_cuda_than_torch_is_refused(tmp_path: Path, machine: Path) -> None:
    toolkit(tmp_path / "usual", "12.8")
    (line,) = prepare_error(tmp_path, target())
    assert "nvcc is 12.8" in line
    assert "for CUDA 13" in line
    assert "CUDA_HOME" in line
    target().prepare(tmp_path, None, ["--index-url", "for/cuda12"])  # which torch comes is not known yet
    (line,) = prepare_error(tmp_path, target(), environment_state(tmp_path))
    assert f"torch {TORCH}+cu130 is for CUDA 13.0" in line


def test_a_gpu_that_nvcc_does_not_know_is_named(tmp_path: Path, machine: Path) -> None:
    toolkit(tmp_path / "usual", fails="nvcc fatal   : Unsupported gpu architecture 'compute_61'")
    program(machine / "g++", "")
    (line,) = prepare_error(tmp_path, target("6.1"))
    assert "nvcc 13.0 cannot compile for 6.1 (nvcc fatal   : Unsupported gpu architecture 'compute_61')" in line


def test_what_was_found_is_said_before_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = toolkit(tmp_path / "usual")
    target("8.6;9.0").prepare(tmp_path, None, [])
    first = capsys.readouterr().out
    for wanted in (f"nvcc 13.0 is {home}/bin/nvcc", "8.6 9.0", f"torch {TORCH} will be"):
        assert wanted in first
    assert target("8.6;9.0").minutes(jobs=2) == 18
    assert "cuSPARSE, cuBLAS, cuBLASLt, cuSOLVER: torch's packages" in first
    target().prepare(tmp_path, environment_state(tmp_path / "site"), [])
    assert f"cuSOLVER: {tmp_path}/site/nvidia/cu13/include" in capsys.readouterr().out


# --- handing to the build --------------------------------------------------------------------------


def test_the_build_gets_torchs_headers_and_a_link_to_its_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, scratch = toolkit(tmp_path / "usual"), tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("CPATH", "/mine")
    monkeypatch.setenv("NVCC_PREPEND_FLAGS", "-lineinfo")
    given = target("8.6;9.0").environment(environment_state(tmp_path / "site"), scratch)
    packages = tmp_path / "site" / "nvidia" / "cu13"
    assert given["CUDA_HOME"] == str(home)
    assert given["TORCH_CUDA_ARCH_LIST"] == "8.6;9.0"
    assert given["CPATH"].split(os.pathsep) == [str(packages / "include"), str(home / "include" / "cccl"), "/mine"]
    assert given["LIBRARY_PATH"] == str(scratch)
    assert (scratch / "libcusparse.so").resolve() == packages / "lib" / "libcusparse.so.12"
    assert (scratch / "libcudart.so").resolve() == home / "lib64" / "libcudart.so"
    header = given["NVCC_PREPEND_FLAGS"].split('"')[1]
    assert Path(header).is_file()
    assert given["NVCC_PREPEND_FLAGS"].endswith(" -lineinfo")


def test_a_whole_toolkit_is_preferred(tmp_path: Path) -> None:
    home, scratch = toolkit(tmp_path / "usual"), tmp_path / "scratch"
    scratch.mkdir()
    touch(*(home / "include" / name for name in setup_cuda.HEADERS.values()), home / "lib64" / "libcusparse.so")
    given = target().environment(environment_state(tmp_path / "site"), scratch)
    assert given["CPATH"] == ""  # torch names the toolkit's include folder by itself
    assert (scratch / "libcusparse.so").resolve() == home / "lib64" / "libcusparse.so"


def test_what_the_build_lacks_is_named_one_line_each(tmp_path: Path) -> None:
    home = toolkit(tmp_path / "usual")
    (home / "lib64" / "libcudart.so").unlink()
    state = {**environment_state(tmp_path / "elsewhere"), "site": str(tmp_path / "site")}
    with pytest.raises(setup_system.SetupError) as error:
        target().environment(state, tmp_path)
    lines = str(error.value).splitlines()
    assert [line.split(" is missing")[0] for line in lines] == [
        "cuSPARSE's header cusparse.h",
        "cuBLAS's header cublas_v2.h",
        "cuBLASLt's header cublasLt.h",
        "cuSOLVER's header cusolverDn.h",
        "libcudart.so",
        "libcusparse.so",
    ]


def test_a_torch_for_the_cpu_is_refused(tmp_path: Path) -> None:
    toolkit(tmp_path / "usual")
    state = environment_state(tmp_path, f"{TORCH}+cpu", cuda=None)
    with pytest.raises(setup_system.SetupError, match="is a build for the CPU: PIP_ARGS"):
        target().environment(state, tmp_path)
