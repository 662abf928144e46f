"""A short run of the fuzzer; ``make fuzz`` is the long one."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")


@pytest.mark.timeout(600)
def test_no_reader_crashes_hangs_grows_or_leaks_an_exception() -> None:
    done = subprocess.run(
        [sys.executable, FUZZ, "--inputs", "2000", "--minutes", "5"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2000 inputs" in done.stdout or "inputs of" in done.stdout


def test_the_fuzzer_finds_what_it_looks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exceptions, deaths, hangs and growth of a reader that has all of them."""
    monkeypatch.syspath_prepend(FUZZ.parent)
    import fuzz
    from readers import Seed

    monkeypatch.setattr(fuzz, "PATIENCE", 3)
    script = {
        1: "raise ValueError('plain')",
        2: "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        3: "import time; time.sleep(60)",
        4: "b'x' * 700_000_000",
        5: "from mink_pd.errors import DataError; raise DataError('ours')",
    }
    seed = Seed("a.bin", b"content", lambda path: exec(script.get(next(numbers), "")))
    numbers = iter(range(6))
    result = fuzz.Result()
    fuzz.run_batch(seed, tmp_path, range(2), result)
    for number in range(2, 6):
        numbers = iter([number])
        fuzz.run_batch(seed, tmp_path, range(number, number + 1), result)
    text = "\n".join(result.findings)
    assert (result.read, result.refused) == (2, 1)
    for part in ("ValueError", "dies by signal 9", "takes more than 3 s", "MB"):
        assert part in text
    assert fuzz.mutate(b"abc" * 50, random.Random(1)) == fuzz.mutate(b"abc" * 50, random.Random(1))
