"""The engine of other builds: every setting gives the same bits for any number of threads and callers, and the boxes
that the engine of this machine finds. ``make core`` runs it on a sanitized build, and on one for aarch64."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "engine")]  # as pytest does

from engine_cases import cloud, tuned  # noqa: E402
from test_detections import CASES, configured  # noqa: E402
from test_int8 import CASES as INT8_CASES  # noqa: E402
from test_int8 import network  # noqa: E402

from mink_pd.config import Config  # noqa: E402
from mink_pd.detect.engine import Engine  # noqa: E402
from mink_pd.detect.engine_file import engine_file  # noqa: E402

TOLERANCE = 1e-3  # of boxes [m or rad] and scores: other vectors add in another order
POINTS = (3000, 200, 0)  # of the clouds, besides their heaps; the last one is empty
EMULATED = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]
DAMAGE = (0, 8, 12, 16, 31, 40, 1000)  # bytes of a file


def main() -> int:
    """Test the builds in the folders that are given; 1 if one finds anything else."""
    builds, failures = [Path(one) for one in sys.argv[1:]], 0
    with tempfile.TemporaryDirectory() as folder:
        cases = list(written(Path(folder)))
        for build in builds:
            failed = [name for name, config, file, clouds in cases if not agrees(build, name, config, file, clouds)]
            failures += len(failed) + damaged_files_are_loaded(build, cases[0][2])
            print(f"{build}: the engine agrees in {len(cases) - len(failed)} of {len(cases)} cases", flush=True)
    return int(failures > 0)


def written(folder: Path) -> Iterator[tuple[str, Config, Path, list[Path]]]:
    """Name, configuration, file and clouds of every case."""
    for number, (name, config, content) in enumerate(contents()):
        file = folder / f"{number}.mpd"
        file.write_bytes(content)
        clouds = [folder / f"{number}_{points}.bin" for points in POINTS]
        for seed, (points, path) in enumerate(zip(POINTS, clouds, strict=True)):
            (cloud(config, seed, points).points if points else np.zeros(0, np.float32)).tofile(path)
        yield name, config, file, clouds


def contents() -> Iterator[tuple[str, Config, bytes]]:
    for name, case in CASES.items():
        config = configured(case)
        yield name, config, engine_file(tuned(config))
    for name in INT8_CASES:
        detector, eight = network(name)
        yield f"{name}, 8 bits", detector.config, eight.content(set())
        yield f"{name}, 8 bits in part", detector.config, eight.content(set(eight.names[1::2]))


def run(build: Path, *arguments: Path) -> subprocess.CompletedProcess:
    command = [*(EMULATED if "aarch64" in build.name else []), build / "engine_tests", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


def agrees(build: Path, name: str, config: Config, file: Path, clouds: list[Path]) -> bool:
    done = run(build, file, *clouds)
    if done.returncode != 0:
        print(f"FAILED: {build}, {name}: status {done.returncode}: {done.stderr[-2000:]}")
        return False
    found = np.array([line.split() for line in done.stdout.splitlines()], dtype=np.float64).reshape(-1, 10)
    engine, expected = Engine(file.read_bytes(), threads=2), []
    columns = config.data.point_features
    for number, path in enumerate(clouds):
        ours = engine.detect(np.fromfile(path, np.float32).reshape(-1, columns))
        numbers = np.full((len(ours.boxes), 1), number)
        expected.append(np.hstack([numbers, ours.labels[:, None], ours.scores[:, None], ours.boxes]))
    if near(found, np.concatenate(expected)):
        return True
    print(f"FAILED: {build}, {name}: other boxes")
    return False


def near(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether most boxes of a and b (B, 10) are the same, and none lies where the other list has nothing like it.

    Where two scores or an overlap and its threshold are equal up to rounding, one build keeps another box.
    """
    if len(a) == 0 or len(b) == 0:
        return len(a) == len(b)
    difference = np.abs(a[:, None] - b[None])  # (A, B, 10)
    turn = difference[..., 9] % (2 * np.pi)
    difference[..., 9] = np.minimum(turn, 2 * np.pi - turn)
    same = (difference <= TOLERANCE).all(axis=2)  # (A, B)
    return min(same.any(axis=1).mean(), same.any(axis=0).mean()) >= 0.9


def damaged_files_are_loaded(build: Path, file: Path) -> int:
    """How many files with a changed byte, or cut off, are not refused with one line."""
    content, loaded = file.read_bytes(), 0
    damaged = file.with_name("damaged.mpd")
    changed = [content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :] for place in DAMAGE]
    for other in [*changed, *(content[:length] for length in (0, 20, 40, 1000, len(content) - 1))]:
        damaged.write_bytes(other)
        done = run(build, damaged)
        if done.returncode != 2 or len(done.stderr.splitlines()) != 1:
            print(f"FAILED: {build}: a damaged file gives status {done.returncode}: {done.stderr[-500:]}")
            loaded += 1
    return loaded


if __name__ == "__main__":
    sys.exit(main())
