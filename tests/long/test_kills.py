"""Every command is killed at random file operations and started again. The result is that of an undisturbed run."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from tiny_kitti import settings, write_data
from torch import Tensor

from mink_pd.files import PART

SEED = 14
MORTAL = Path(__file__).with_name("mortal.py")
TRAIN, VAL = [f"{i:06d}" for i in range(4)], ["000004", "000005"]
MATRIX = {
    "config": "tiny.yaml",
    "runs": {
        "teacher": {"once": True},
        "student": {"set": ["model.compression=4"]},
        "distilled": {"set": ["model.compression=4"], "teacher": "teacher"},
    },
}


@dataclass(frozen=True)
class Command:
    """A command to kill."""

    words: list[str]  # of the first start
    again: list[str]  # words of the start after a kill
    kills: int  # how many of the twenty kills


TEACHER = ["train", "tiny.yaml", "name=teacher"]
DISTIL = ["distill", "tiny.yaml", "name=student", "--teacher", "runs/teacher", "model.compression=4"]
DETECT = ["detect", "runs/teacher", "kitti/training", "--out", "found"]
EXPERIMENT = ["experiment", "matrix.yaml", "--seeds", "1", "--runs", "runs"]
REPORT = ["report", "runs", "--out", "page"]
COMMANDS = {
    "train": Command(TEACHER, [*TEACHER, "--resume"], 5),
    "distill": Command(DISTIL, [*DISTIL, "--resume"], 5),
    "detect": Command(DETECT, DETECT, 4),
    "experiment": Command(EXPERIMENT, EXPERIMENT, 4),
    "report": Command(REPORT, REPORT, 2),
}


def start(work: Path, last: int, words: list[str]) -> subprocess.CompletedProcess:
    """Run a command that is killed at its operation number ``last``, and wait until its processes have ended."""
    environment = os.environ | {"COLUMNS": "200"}
    command = [sys.executable, str(MORTAL), str(last), *words]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=600)
    until = time.monotonic() + 90
    while processes_in(work) and time.monotonic() < until:  # trainings of a matrix stop when it is dead
        time.sleep(0.1)
    assert not processes_in(work)
    return done


def processes_in(work: Path) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if os.readlink(process / "cwd") == str(work):
                    found.append(process.name)
            except OSError:
                continue
    return found


def operations(work: Path) -> int:
    return int((work.parent / "count").read_text())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with data, configurations and a trained teacher. Tests must not write to it."""
    work = tmp_path_factory.mktemp("prepared").resolve() / "work"
    work.mkdir()
    write_data(work / "kitti", TRAIN, VAL)
    tree = settings(Path("kitti"), Path("runs"))
    tree["train"]["epochs"] = 3
    (work / "tiny.yaml").write_text(yaml.safe_dump(tree))
    (work / "matrix.yaml").write_text(yaml.safe_dump(MATRIX))
    done = start(work, 0, TEACHER)
    assert done.returncode == 0, done.stderr
    return work


def copy_of(prepared: Path, command: str, to: Path) -> Path:
    """A separate working folder for a command."""
    work = to.resolve() / "work"
    shutil.copytree(prepared, work)
    if command in ("train", "experiment"):
        shutil.rmtree(work / "runs")
    return work


@pytest.fixture(scope="module")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, int]]:
    """The working folder of each command after a run without a kill, and the number of its operations."""
    known: dict[str, tuple[Path, int]] = {}

    def run(name: str) -> tuple[Path, int]:
        if name not in known:
            work = copy_of(prepared, name, tmp_path_factory.mktemp(name))
            done = start(work, 0, COMMANDS[name].words)
            assert done.returncode == 0, done.stderr
            known[name] = work, operations(work)
        return known[name]

    return run


CASES = [(name, number) for name, command in COMMANDS.items() for number in range(command.kills)]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_killed_command_is_finished_by_the_next(
    name: str, number: int, prepared: Path, undisturbed: Callable[[str], tuple[Path, int]], tmp_path: Path
) -> None:
    assert len(CASES) == 20
    whole, count = undisturbed(name)
    parts = COMMANDS[name].kills  # one kill in each part of the command's work
    first, beyond = 1 + count * number // parts, 1 + count * (number + 1) // parts
    last = random.Random(f"{SEED} {name} {number}").randrange(first, beyond)
    work = copy_of(prepared, name, tmp_path)
    done = start(work, last, COMMANDS[name].words)
    print(f"{name}: killed at operation {last} of {count}")
    of_a_training = name == "experiment" and done.returncode == 2 and "killed by signal 9" in done.stderr
    assert done.returncode == -signal.SIGKILL or of_a_training, done.stderr
    again = start(work, 0, COMMANDS[name].again)
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""
    compare(work, whole)


def compare(work: Path, whole: Path) -> None:
    """Compare all files of two working folders, except for times and additions of a second start."""
    kept = files_of(whole)
    found = files_of(work)
    assert found.keys() == kept.keys()
    for name in kept:
        assert found[name] == kept[name], name


def files_of(work: Path) -> dict[str, Any]:
    """The contents of each file by its path. Events and logs are left out, because they differ in a resumed run."""
    result = {}
    for path in sorted(path for path in work.rglob("*") if path.is_file()):
        name = str(path.relative_to(work))
        assert PART not in name, name
        if ".tfevents." not in name and path.suffix != ".log":
            result[name] = content(path)
    return result


def content(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return {name: bits(tensor) for name, tensor in load_file(path).items()}
    if path.name == "environment.txt" or path.name.endswith(".state.pt"):
        return None  # records of the starts; random states and tensors (the weights are compared as safetensors)
    if path.name == "metrics.jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [
            {key: value for key, value in row.items() if key not in ("seconds", "frames_per_second")} for row in rows
        ]
    if path.name == "detect.inputs.jsonl":
        rows = {row["frame"]: row["sha256"] for row in map(json.loads, path.read_text().splitlines())}
        return dict(sorted(rows.items()))
    if path.name == "files.json":
        # A teacher's weights are compared directly, because safetensors writes its metadata in an arbitrary order.
        return {key: key == "teacher" or one["sha256"] for key, one in json.loads(path.read_text()).items()}
    if path.name == "index.html":  # cost and speed are measured again: compare the structure
        return len(re.findall(r"<(h2|table|img|figure|svg)", path.read_text()))
    return path.read_bytes()


def bits(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()
