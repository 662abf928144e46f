"""The command line of tools/benchmark.py; what it measures is tested in tests/benchmark."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_a_row_is_measured_printed_and_written(tool, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result = tool("benchmark.py", "--only", "knn", "--repeats", 1, "--json", tmp_path / "out.json")
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "out.json").read_text())
    assert content.keys() == {"machine", "rows"}
    assert content["machine"].keys() >= {"processor", "cores", "threads", "versions", "commit", "sgemm_gflops"}
    (row,) = content["rows"]
    assert next(iter(row)) == "name"
    assert row["name"] == "knn"
    again = tool("benchmark.py", "--markdown", tmp_path / "out.json")
    assert "| `knn`" in again.stdout


def test_help_imports_nothing_slow() -> None:
    code = "import runpy, sys\nsys.argv = ['benchmark.py', '--help']\n"
    code += "try:\n    runpy.run_path('tools/benchmark.py', run_name='__main__')\nexcept SystemExit:\n    pass\n"
    code += "print(sorted({'torch', 'numpy', 'rich'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--latency FRAMES" in done.stdout
    assert done.stdout.splitlines()[-1] == "['rich']"


def test_it_runs_from_any_folder_without_help_of_the_environment(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(ROOT / "tools" / "benchmark.py"), "--list"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "encoder-forward" in done.stdout


def test_rows_are_listed(tool) -> None:  # type: ignore[no-untyped-def]
    assert "encoder-forward" in tool("benchmark.py", "--list").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--only", "no-such-row"), "no row 'no-such-row'"),
        (("--only", "knn", "--json", "nowhere/out.json"), "nowhere/out.json"),
        (("--only", "knn", "--frame", "missing.bin"), "missing.bin"),
        (("--markdown", "missing.json"), "missing.json"),
    ],
)
def test_mistakes_are_one_line(tool, arguments: tuple[str, ...], said: str) -> None:  # type: ignore[no-untyped-def]
    result = tool("benchmark.py", *arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
