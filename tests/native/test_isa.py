"""The levels of MINK_PD_ISA: what they need, and that the tests hold under each that this processor has."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from mink_pd.errors import ConfigError
from mink_pd.native import build, isa

ROOT = Path(__file__).resolve().parents[2]
x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="MINK_PD_ISA is for x86-64")

AVX2 = "avx avx2 bmi1 bmi2 f16c fma"
AVX512 = f"{AVX2} avx512f avx512bw avx512cd avx512dq avx512vl"
BF16 = f"{AVX512} avx512_vnni avx512_bf16"
AMX = f"{BF16} amx_tile amx_bf16 amx_int8"

# Kernels, layers, detectors and benchmark rows.
TESTS = [
    *(f"tests/sparse/test_{name}.py" for name in ("conv", "inference", "kernel_map", "knn", "voxels")),
    "tests/points/test_operators.py",
    "tests/distill/methods/pointdistiller/test_edges.py",
    *(f"tests/models/test_{name}.py" for name in ("head", "pillars", "pointpillars")),
    *(
        f"tests/benchmark/test_rows.py::test_both_sides_of_every_row_do_the_same_work[{row}]"
        for row in ("encoder-bf16", "pointpillars-bf16", "student-detect")
    ),
]
# The libraries below are limited too: torch's kernels, oneDNN, MKL and OpenBLAS.
LIBRARIES = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "avx512bf16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
    "amx": {},
}
# Another number of threads at each level: one core and four.
THREADS = {"avx2": "4", "avx512": "1", "avx512bf16": "3", "amx": "2"}


def cpuinfo(folder: Path, flags: str) -> Path:
    path = folder / "cpuinfo"
    path.write_text(f"processor\t: 0\nmodel name\t: some\nflags\t\t: fpu sse2 {flags}\n")
    return path


@x86
@pytest.mark.parametrize(
    ("flags", "levels"),
    [
        ("", []),
        (AVX2, ["avx2"]),
        (AVX512, ["avx2", "avx512"]),
        (BF16, ["avx2", "avx512", "avx512bf16"]),
        (AMX, ["avx2", "avx512", "avx512bf16", "amx"]),
    ],
)
def test_levels_of_a_processor(flags: str, levels: list[str], tmp_path: Path) -> None:
    assert isa.available(cpuinfo(tmp_path, flags)) == levels


@x86
@pytest.mark.parametrize(
    ("wanted", "flags", "message"),
    [
        ("avx512", AVX2, "MINK_PD_ISA=avx512: this processor lacks it; choose avx2, or unset it"),
        ("amx", AVX512, "MINK_PD_ISA=amx: this processor lacks it; choose avx2 or avx512, or unset it"),
        ("avx2", "", "MINK_PD_ISA=avx2: this processor lacks it; unset it"),
        (
            "sse9",
            AVX2,
            "MINK_PD_ISA=sse9: unknown; the levels are avx2, avx512, avx512bf16, amx; choose avx2, or unset it",
        ),
    ],
)
def test_a_level_that_is_not_there_is_refused(
    wanted: str, flags: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINK_PD_ISA", wanted)
    with pytest.raises(ConfigError) as refused:
        isa.compiler_options(cpuinfo(tmp_path, flags))
    assert str(refused.value) == message


def test_the_library_refuses_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not fall back to the plain layers, as it does without a compiler."""
    monkeypatch.setenv("MINK_PD_ISA", "sse9")
    monkeypatch.setenv("MINK_PD_NATIVE", "1")
    build.library.cache_clear()
    try:
        with pytest.raises(ConfigError, match="sse9"):
            build.library()
    finally:
        build.library.cache_clear()
    done = subprocess.run([sys.executable, "-m", "mink_pd.native.build"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.startswith("error: MINK_PD_ISA=sse9: unknown")
    assert done.stderr.count("\n") == 1


def test_each_level_has_a_library_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = set()
    for level in isa.available():
        monkeypatch.setenv("MINK_PD_ISA", level)
        paths.add(build.library_path())
    assert len(paths) == len(isa.available())


@pytest.mark.timeout(900)  # the library of a level is compiled once
@pytest.mark.parametrize("level", isa.LEVELS)
def test_the_tests_hold_under_each_level(level: str) -> None:
    levels = isa.available()
    if level not in levels:
        pytest.skip(f"this processor lacks {level}")
    if os.environ.get("MINK_PD_ISA", levels[-1]) == level:
        pytest.skip(f"{level} is what all other tests run under")
    environment = os.environ | LIBRARIES[level] | {"MINK_PD_ISA": level, "OMP_NUM_THREADS": THREADS[level]}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
