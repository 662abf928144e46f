"""Trainings as processes: their order, what a failure does to the others, and how they are stopped."""

import pickle
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from safetensors.numpy import load_file
from tiny_kitti import settings, write_data

from mink_pd.experiments import queue as side_by_side
from mink_pd.experiments.matrix import Job, execute, load_matrix, plan
from mink_pd.experiments.progress import MatrixProgress
from mink_pd.experiments.queue import log_file, run_all

TEXT = """
config: small.yaml
runs:
  teacher: {once: true}
  broken: {set: [seed=7]}
  student: {set: [model.compression=4]}
  distilled: {set: [model.compression=4], teacher: teacher}
  unlucky: {set: [model.compression=4], teacher: broken}
"""
# In the place of a training: notes when it starts and ends, fails by name, and stops at the end of its input.
STAND_IN = """
import os, re, select, sys, time
name = re.search(rb"[a-z]+-seed[0-9]", os.read(0, 1 << 16)).group().decode()
note = lambda what: open(sys.argv[1], "a").write(f"{what} {name}\\n")
note("start")
print("some line")
for _ in range(int(sys.argv[2])):
    if select.select([0], [], [], 0.05)[0]:
        note("stop")
        sys.exit(130)
note("end")
if name.startswith("broken"):
    print("error: no such thing\\n")
    sys.exit(2)
"""


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    (tmp_path / "small.yaml").write_text("data: {root: nowhere}\n")
    (tmp_path / "matrix.yaml").write_text(TEXT)
    return plan(load_matrix(tmp_path / "matrix.yaml"), [0, 1], tmp_path / "runs", [])


def stand_in(monkeypatch: pytest.MonkeyPatch, notes: Path, ticks: int) -> None:
    monkeypatch.setattr(side_by_side, "TRAIN", ["-c", STAND_IN, str(notes), str(ticks)])


def test_a_failed_run_is_named_and_the_others_are_done(
    jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, tmp_path / "notes", 4)
    out = StringIO()
    failed = {Path(run).name: why for run, why in run_all(jobs, Console(file=out, width=500), 2).items()}
    assert set(failed) == {"broken-seed0", "broken-seed1", "unlucky-seed0", "unlucky-seed1"}
    assert failed["broken-seed1"].startswith("no such thing")
    assert failed["unlucky-seed0"].startswith("not started: ")
    assert "broken-seed0, which it needs" in failed["unlucky-seed0"]
    notes = (tmp_path / "notes").read_text().splitlines()
    assert sorted(line for line in notes if line.startswith("start")) == [
        f"start {name}"
        for name in ("broken-seed0", "broken-seed1", "distilled-seed0", "distilled-seed1", "student-seed0",
                     "student-seed1", "teacher-seed0")
    ]  # fmt: skip
    assert notes.index("end teacher-seed0") < notes.index("start distilled-seed0")
    under_way = most = 0
    for line in notes:
        under_way += 1 if line.startswith("start") else -1
        most = max(most, under_way)
    assert most == 2
    assert "(9 of 9 runs)" in out.getvalue()


def test_a_folder_is_looked_into_once(jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a millisecond or more, for every run that waits, and trainings share the cores with it."""
    stand_in(monkeypatch, tmp_path / "notes", 12)
    looked = []
    monkeypatch.setattr(side_by_side, "is_finished", lambda job: bool(looked.append(str(job.folder))))
    run_all(jobs, Console(file=StringIO()), 2)
    assert sorted(looked) == sorted(str(job.folder) for job in jobs if job.run != "unlucky")


def test_an_interruption_stops_all(jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, tmp_path / "notes", 2000)
    notes = tmp_path / "notes"

    def interrupt(progress: MatrixProgress) -> None:
        if notes.exists() and len(notes.read_text().splitlines()) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(MatrixProgress, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_all(jobs, Console(file=StringIO()), 2)
    assert sorted(notes.read_text().splitlines()) == [
        "start broken-seed0", "start teacher-seed0", "stop broken-seed0", "stop teacher-seed0"
    ]  # fmt: skip


def test_a_real_training(tmp_path: Path) -> None:
    """In a process of its own it does the same as elsewhere, and it is not done again."""
    write_data(tmp_path / "data", ["000000", "000001"], ["000002"])
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings(tmp_path / "data", tmp_path / "runs")))
    (tmp_path / "matrix.yaml").write_text("{config: small.yaml, set: [train.epochs=1], runs: {student: {}}}")
    jobs = plan(load_matrix(tmp_path / "matrix.yaml"), [0], tmp_path / "runs", [])
    out = StringIO()
    for says in ("done", "already done"):
        assert run_all(jobs, Console(file=out, width=500)) == {}
        assert f"{jobs[0].folder}: {says}" in out.getvalue()
    assert "epoch 1/1" in log_file(jobs[0]).read_text()
    (here,) = plan(load_matrix(tmp_path / "matrix.yaml"), [0], tmp_path / "here", [])
    threads = torch.get_num_threads()
    execute(here)
    torch.set_num_threads(threads)
    ours, theirs = (load_file(job.folder.weights("last")) for job in (here, jobs[0]))
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    # Whoever starts a job and goes away without a word, as a killed process does, leaves nothing running.
    jobs[0].config.train.epochs = 1000
    jobs[0].config.name = "left"
    process = subprocess.Popen(
        [sys.executable, *side_by_side.TRAIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(pickle.dumps([]) + pickle.dumps(jobs[0]))
    process.stdin.flush()
    assert b"epoch 1/1000" in process.stdout.readline()
    process.stdin.close()
    assert b"--resume continues it" in process.stdout.read()
    assert process.wait() == 130
