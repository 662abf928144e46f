"""A short run of the fuzzer; ``make fuzz`` is the long one. Both tests start the fuzzer in a new process, because it
forks and the process of the tests has threads."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


def run(script: str, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, FOLDER / script, *words], capture_output=True, text=True, check=False)


@pytest.mark.timeout(600)
def test_no_reader_crashes_hangs_grows_or_leaks_an_exception() -> None:
    done = run("fuzz.py", "--inputs", "2000", "--minutes", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(r"\d+ inputs of 40 kinds in .* 0 findings", done.stdout)


def test_the_fuzzer_finds_what_it_looks_for() -> None:
    """It finds the exceptions, deaths, hangs and memory growth of a reader that has all of them."""
    done = run("faulty_reader.py")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["read"], found["refused"]) == (2, 1)  # the seed and the one that grows; our own error
    kinds = ["ValueError at raise_", "the process dies by signal 9", "takes more than 3 s", "takes 6|MB"]
    assert len(found["findings"]) == len(kinds)
    for number, (line, kind) in enumerate(zip(found["findings"], kinds, strict=True), start=1):
        assert line.startswith(f"a.bin {number}: ")
        assert all(part in line for part in kind.split("|"))
