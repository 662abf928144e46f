"""Feed mutated files to every reader, each batch in a forked worker: ``python tests/fuzz/fuzz.py --inputs 100000``.

A finding is an exception other than ours, the death of a worker, or a file that takes more than five seconds or 500 MB.
Mutant ``number`` of a seed always has the same bytes, so a finding can be repeated:
``--only NAME --first NUMBER --inputs 1``.
"""

import argparse
import json
import mmap
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import mink_pd  # noqa: F401  # isort: skip  # before torch: it decides how threads wait
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from described import described
from readers import Seed, seeds

from mink_pd.errors import MinkPDError

PATIENCE = 5.0  # seconds
MOST_MB = 500
BATCH = 400  # inputs per worker
NUMBERS = (0, 1, -1, 2**15, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1)
WORDS = (
    b"nan",
    b"-1",
    b"1e309",
    b"99999999999999999999",
    b"0",
    b"",
    b"\xff\xfe",
    b"\x00",
    b"[" * 200,
    b"&a [*a]",
    b"../x",
)


def mutate(content: bytes, random_: random.Random) -> bytes:
    """Make one to four changes: to bits, bytes, numbers or words; pieces are removed, doubled or moved; the end is cut
    off."""
    data = bytearray(content)
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(data)) if data else 0
        kind = random_.randrange(8)
        if kind == 0 and data:
            data[at] ^= 1 << random_.randrange(8)
        elif kind == 1 and data:
            data[at] = random_.randrange(256)
        elif kind == 2:
            number = random_.choice(NUMBERS)
            code = random_.choice([code for code in "bhiq" if -(2 ** (8 * struct.calcsize(code) - 1)) <= number])
            data[at : at + struct.calcsize(code)] = (number % 2 ** (8 * struct.calcsize(code))).to_bytes(
                struct.calcsize(code), "little"
            )
        elif kind == 3:
            data[at : at + random_.randrange(6)] = random_.choice(WORDS)
        elif kind == 4:
            del data[at : at + random_.randrange(1, 60)]
        elif kind == 5:
            data[at:at] = data[at : at + random_.randrange(1, 200)]
        elif kind == 6:
            piece = bytes(data[at : at + random_.randrange(1, 40)])
            to = random_.randrange(len(data) + 1)
            data[to:to] = piece
        else:
            del data[at:]
    return bytes(data)


def mutant(seed: Seed, number: int) -> bytes:
    """Mutant ``number`` of a seed; 0 is the seed itself."""
    return seed.content if number == 0 else mutate(seed.content, random.Random(f"{seed.name} {number}"))


@dataclass
class Result:
    """The outcomes of the inputs."""

    read: int = 0  # inputs that were read
    refused: int = 0  # inputs that our errors refused
    findings: list[str] = field(default_factory=list)  # everything else

    def add(self, line: str) -> None:
        kind, _, text = line.partition(" ")
        if kind == "read":
            self.read += int(text)
        elif kind == "refused":
            self.refused += int(text)
        else:
            self.findings.append(json.loads(text))


def work(seed: Seed, folder: Path, numbers: range, progress: mmap.mmap, report: int) -> None:
    """Read the mutants in this (forked) process. Tell the parent which one is being read and what happened."""
    path = seed.write_neighbours(folder)
    read = refused = 0
    for number in numbers:
        progress[:8] = number.to_bytes(8, "little")
        path.write_bytes(mutant(seed, number))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            seed.read(path)
            read += 1
        except MinkPDError as error:
            refused += 1
            if "\n" in str(error):
                tell(report, f"{seed.name} {number}: a message of several lines: {error}")
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            tell(report, f"{seed.name} {number}: {type(error).__name__} at {place.name}:{place.lineno}: {error}"[:300])
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        if grown > MOST_MB:
            tell(report, f"{seed.name} {number}: takes {grown:.0f} MB")
    os.write(report, f"read {read}\nrefused {refused}\n".encode())


def tell(report: int, text: str) -> None:
    os.write(report, f"finding {json.dumps(text)}\n".encode())


def run_batch(seed: Seed, folder: Path, numbers: range, result: Result, end: float = float("inf")) -> None:
    """Read the mutants in forked workers until ``end``. After a death or a hang, a new worker continues with the next
    mutant."""
    first = numbers.start
    while first < numbers.stop and time.monotonic() < end:
        progress = mmap.mmap(-1, 8)
        progress[:8] = first.to_bytes(8, "little")
        read_end, write_end = os.pipe()
        worker = os.fork()
        if worker == 0:
            os.close(read_end)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            work(seed, folder, range(first, numbers.stop), progress, write_end)
            os._exit(0)
        os.close(write_end)
        status, hung = watch(worker, progress)
        with os.fdopen(read_end) as lines:
            for line in lines:
                result.add(line.rstrip("\n"))
        if status == 0:
            return
        at = int.from_bytes(progress[:8], "little")
        what = f"takes more than {PATIENCE:g} s" if hung else f"the process dies by signal {status & 127}"
        result.findings.append(f"{seed.name} {at}: {what}")
        first = at + 1


def watch(worker: int, progress: mmap.mmap) -> tuple[int, bool]:
    """Wait for the worker, and kill it if one input takes too long. Return its status and whether it was killed."""
    seen, since = progress[:8], time.monotonic()
    while True:
        done, status = os.waitpid(worker, os.WNOHANG)
        if done:
            return status, False
        if progress[:8] != seen:
            seen, since = progress[:8], time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            os.kill(worker, signal.SIGKILL)
            return os.waitpid(worker, 0)[1], True
        time.sleep(0.01)


def fuzz(inputs: int, seconds: float, only: str | None = None, first: int = 0) -> tuple[Result, Counter]:
    """Distribute ``inputs`` among the readers, for at most ``seconds``. Return the result and each seed's inputs."""
    torch.set_num_threads(1)  # a forked worker has no OpenMP threads
    result, counts, end = Result(), Counter[str](), time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chosen = [seed for seed in (*seeds(folder), *described(folder)) if only in (None, seed.name)]
        for seed in chosen:  # import and compile what the readers need before the fork
            path = seed.write_neighbours(folder)
            path.write_bytes(seed.content)
            seed.read(path)
        each = -(-inputs // len(chosen))
        for start in range(first, first + each, BATCH):
            for seed in chosen:
                if time.monotonic() > end:
                    return result, counts
                numbers = range(start, min(start + BATCH, first + each))
                run_batch(seed, folder, numbers, result, end)
                counts[seed.name] += len(numbers)
    return result, counts


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--inputs", type=int, default=100_000)
    arguments.add_argument("--minutes", type=float, default=20)
    arguments.add_argument("--only", metavar="NAME", help="one seed")
    arguments.add_argument("--first", type=int, default=0, metavar="NUMBER", help="the first mutant")
    options = arguments.parse_args()
    started = time.monotonic()
    result, counts = fuzz(options.inputs, 60 * options.minutes, options.only, options.first)
    print(f"{sum(counts.values())} inputs of {len(counts)} kinds in {time.monotonic() - started:.0f} s:", end=" ")
    print(f"{result.read} read, {result.refused} refused in one line, {len(result.findings)} findings")
    for finding in result.findings:
        print(finding)
    sys.exit(bool(result.findings))


if __name__ == "__main__":
    main()
