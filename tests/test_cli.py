"""The front door: one line for each kind of failure, and the exit code that goes with it."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from mink_pd.cli import parser, run

TOOL = """
import sys
from mink_pd.cli import console, parser, run
from mink_pd.errors import DataError
def main(options):
    {}
run(main, parser("x"))
"""


def call(body: str, *arguments: str, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", TOOL.format(body), *arguments]
    return subprocess.run(command, capture_output="stdout" not in options, text=True, check=False, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("raise RuntimeError('DataLoader worker (pid 7) is killed')", 2, "a process that reads frames was killed"),
        ("raise DataError('x.bin: truncated; copy it again')", 2, "error: x.bin: truncated; copy it again"),
        ("open('/no/such/file')", 2, "error: /no/such/file: No such file or directory;"),
        ("raise MemoryError", 2, "error: not enough memory"),
        ('raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory")', 2, "error: not enough memory"),
        ("{}['a']", 1, "a fault of mink_pd itself (KeyError in <string>:6: 'a'); please report it, with /"),
    ],
)
def test_every_failure_is_one_line(body: str, code: int, words: str) -> None:
    done = call(body)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" in call(body, "--debug").stderr


def test_the_home_folder_is_found_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    seen: list[argparse.Namespace] = []
    arguments = parser("x")
    arguments.add_argument("--out", type=Path)
    arguments.add_argument("inputs", type=Path, nargs="*")
    run(seen.append, arguments, ["--out=~/out", "~/a", "b"])
    assert (seen[0].out, seen[0].inputs) == (tmp_path / "out", [tmp_path / "a", Path("b")])


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    path = Path(call("{}['a']").stderr.split("with ")[1].strip())
    assert "KeyError: 'a'" in path.read_text()
    path.unlink()


def test_a_terminal_that_lacks_a_character_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = call(r"console.print('mAP \u2013 \xb1 1 \udcff')")
    assert (done.returncode, done.stdout) == (0, "mAP ? ? 1 ?\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_takes_no_more() -> None:
    with Path("/dev/full").open("w") as full:
        done = call("print('x' * 100_000)", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr == "error: standard output: No space left on device; check the file, the disk and their rights\n"
