"""The core of the compiled operators: it builds without torch, warnings are errors, and its own tests pass."""

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mink_pd.native import build, isa

TESTS = Path(__file__).with_name("core")
# Instructions of the 8-bit products, the compiler's options that give them, and the processor's flag that they need.
INT8 = [
    ("plain", "-march=x86-64", "sse2"),
    ("AVX2", "-march=x86-64-v3", "avx2"),
    ("AVX-VNNI", "-march=x86-64-v3 -mavxvnni", "avx_vnni"),
    ("AVX-512", "-march=x86-64-v4", "avx512bw"),
    ("AVX-512 VNNI", "-march=x86-64-v4 -mavx512vnni", "avx512_vnni"),
]


def test_the_core_knows_neither_torch_nor_python() -> None:
    sources = [*build.SOURCES.glob("core/*"), *TESTS.iterdir()]
    assert len(sources) > 20
    for source in sources:
        included = re.findall(r'^#include [<"](.*)[>"]', source.read_text(), re.MULTILINE)
        assert [name for name in included if name.startswith(("ATen", "torch", "c10", "Python", ".."))] == []


@pytest.mark.skipif(shutil.which("cmake") is None or build.compiler() is None, reason="no cmake or C++ compiler here")
def test_the_core_builds_alone_and_agrees_with_plain_loops(tmp_path: Path) -> None:
    """Without optimisation, which compiles fast; "make core" runs all other builds."""
    options = [f"-DMINK_PD_TESTS={TESTS.parent}", "-DCMAKE_BUILD_TYPE=Debug"]
    for command in (
        ["cmake", "-S", build.SOURCES, "-B", tmp_path, *options],
        ["cmake", "--build", tmp_path, "--parallel", "2", "--target", "core_tests"],
        [tmp_path / "core_tests"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " 0 failed" in done.stdout


@pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86-64")
@pytest.mark.parametrize(("name", "options", "flag"), INT8, ids=[name for name, *_ in INT8])
def test_products_in_8_bits_are_the_same_integers_by_all_instructions(
    name: str, options: str, flag: str, tmp_path: Path
) -> None:
    if flag not in isa.CPUINFO.read_text().split() or build.compiler() is None:
        pytest.skip(f"the processor lacks {flag}, or there is no C++ compiler")
    main = tmp_path / "main.cpp"
    main.write_text('#include "expect.h"\nint main() { tests::test_int8(); return tests::failures; }\n')
    sources = [build.SOURCES / "core/int8.cpp", TESTS / "int8_test.cpp", main]
    flags = ["-std=c++20", "-O0", "-ffp-contract=fast", *options.split(), f"-I{build.SOURCES}", f"-I{TESTS}"]
    program = tmp_path / "int8_test"
    for command in ([build.compiler(), *flags, *sources, "-o", program], [program]):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert f"8-bit products by {name}\n" in done.stdout
