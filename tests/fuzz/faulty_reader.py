"""Runs the fuzzer on a reader with one fault of each kind, in a process without other threads, because it forks.

Prints the findings as JSON; ``test_fuzz.py`` runs this script.
"""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fuzz
from readers import Seed

from mink_pd.errors import DataError


def raise_(error: Exception) -> None:
    raise error


# Mutant number -> what reading it does.
FAULTS: dict[int, Callable[[], object]] = {
    1: lambda: raise_(ValueError("plain")),
    2: lambda: os.kill(os.getpid(), signal.SIGKILL),
    3: lambda: time.sleep(60),
    4: lambda: b"x" * 700_000_000,
    5: lambda: raise_(DataError("ours")),
}


def main() -> None:
    result = fuzz.Result()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(6):
            fuzz.PATIENCE = 3.0 if number == 3 else 60.0
            seed = Seed("a.bin", b"content", lambda _, number=number: FAULTS.get(number, bool)())  # type: ignore[misc]
            fuzz.run_batch(seed, Path(folder), range(number, number + 1), result)
    json.dump(vars(result), sys.stdout)


if __name__ == "__main__":
    main()
