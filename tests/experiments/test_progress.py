"""The time that a matrix still needs, from the runs that there are."""

import json
from pathlib import Path

import pytest

from mink_pd.experiments.matrix import Job, load_matrix, plan
from mink_pd.experiments.progress import Pace, duration

TEXT = """
config: small.yaml
set: [train.epochs=4]
runs:
  teacher: {once: true, set: [train.epochs=10]}
  student: {}
  distilled: {teacher: teacher}
"""


@pytest.fixture
def jobs(tmp_path: Path) -> dict[str, Job]:
    (tmp_path / "small.yaml").write_text("data: {root: nowhere}\n")
    (tmp_path / "matrix.yaml").write_text(TEXT)
    jobs = plan(load_matrix(tmp_path / "matrix.yaml"), [0, 1], tmp_path / "runs", [])
    return {job.folder.path.name: job for job in jobs}


def write(job: Job, epochs: int, seconds: float, validation: float = 0.0) -> None:
    job.folder.path.mkdir(parents=True)
    rows = [{"split": "train", "epoch": epoch, "seconds": seconds} for epoch in range(1, epochs + 1)]
    rows.append({"split": "val", "epoch": epochs, "seconds": validation})
    job.folder.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_time_left_goes_by_the_kind_of_run(jobs: dict[str, Job]) -> None:
    pace = Pace(list(jobs.values()))
    assert pace.left(list(jobs.values()), 1) is None
    write(jobs["student-seed0"], 4, 10.0, validation=8.0)  # 12 s an epoch, done
    write(jobs["distilled-seed0"], 1, 30.0)  # 3 of 4 epochs left, at 30 s
    for name in ("student-seed0", "distilled-seed0"):
        pace.read(jobs[name])
    left = [jobs[name] for name in ("teacher-seed0", "student-seed1", "distilled-seed0", "distilled-seed1")]
    # The teacher as the student trained alone: 10 x 12; another seed of the student: 4 x 12; distilled: 3 and 4 x 30.
    times = [120.0, 48.0, 90.0, 120.0]
    assert pace.left(left, 1) == pytest.approx(sum(times))
    assert pace.left(left, 2) == pytest.approx(sum(times) / 2)
    assert pace.left(left, 100) == pytest.approx(120.0)  # one run is never split


def test_rows_without_times_tell_nothing(jobs: dict[str, Job]) -> None:
    job = jobs["student-seed0"]
    job.folder.path.mkdir(parents=True)
    job.folder.metrics.write_text('{"split": "train", "epoch": 1}\n')
    pace = Pace(list(jobs.values()))
    pace.read(job)
    assert pace.epochs[str(job.folder)] == 1
    assert pace.left([job], 1) is None


@pytest.mark.parametrize(("seconds", "text"), [(12.4, "12 s"), (90, "2 min"), (3599, "1 h 0 min"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
