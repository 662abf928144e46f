"""The core of the compiled operators: it builds without torch, warnings are errors, and its own tests pass."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mink_pd.native import build

TESTS = Path(__file__).with_name("core")


def test_the_core_knows_neither_torch_nor_python() -> None:
    sources = [*build.SOURCES.glob("core/*"), *TESTS.iterdir()]
    assert len(sources) > 20
    for source in sources:
        included = re.findall(r'^#include [<"](.*)[>"]', source.read_text(), re.MULTILINE)
        assert [name for name in included if name.startswith(("ATen", "torch", "c10", "Python", ".."))] == []


@pytest.mark.skipif(shutil.which("cmake") is None or build.compiler() is None, reason="no cmake or C++ compiler here")
def test_the_core_builds_alone_and_agrees_with_plain_loops(tmp_path: Path) -> None:
    """Without optimisation, which compiles fast; "make core" runs all other builds."""
    options = [f"-DMINK_PD_TESTS={TESTS}", "-DCMAKE_BUILD_TYPE=Debug"]
    for command in (
        ["cmake", "-S", build.SOURCES, "-B", tmp_path, *options],
        ["cmake", "--build", tmp_path, "--parallel", "2", "--target", "core_tests"],
        [tmp_path / "core_tests"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert " 0 failed" in done.stdout
