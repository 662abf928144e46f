"""Matrices of runs: their plan, their statistics, and what they refuse."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file
from tiny_kitti import settings, write_data

from mink_pd.config import override
from mink_pd.errors import CheckpointError, ConfigError, DataError
from mink_pd.experiments.matrix import (
    compare,
    counts,
    execute,
    figures,
    interval,
    is_finished,
    load_matrix,
    other_run,
    plan,
)
from mink_pd.train.run_folder import identify

TEXT = """
config: small.yaml
set: [train.epochs=2]
runs:
  distilled: {set: [model.compression=4], teacher: teacher, against: student}
  teacher: {once: true}
  student: {set: [model.compression=4]}
"""


@pytest.fixture
def matrix_file(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text("data: {root: nowhere}\n")
    path = tmp_path / "matrix.yaml"
    path.write_text(TEXT)
    return path


def test_plan_has_teachers_first_and_once(matrix_file: Path, tmp_path: Path) -> None:
    jobs = plan(load_matrix(matrix_file), [0, 1], tmp_path / "runs", ["train.batch_size=3"])
    names = [job.config.name for job in jobs]
    assert names == ["teacher-seed0", "student-seed0", "distilled-seed0", "student-seed1", "distilled-seed1"]
    last = jobs[-1]
    assert (last.config.seed, last.config.train.epochs, last.config.train.batch_size) == (1, 2, 3)
    assert last.config.model.compression == 4
    assert last.teacher is not None
    assert last.teacher.path == tmp_path / "runs" / "teacher-seed0"


def test_compare_pairs_by_seed(matrix_file: Path, tmp_path: Path) -> None:
    matrix = load_matrix(matrix_file)
    jobs = plan(matrix, [0, 1], tmp_path / "runs", [])
    values = dict(zip([str(job.config.name) for job in jobs], [50.0, 30.0, 34.0, 40.0, 46.0], strict=True))
    for job in jobs:
        job.folder.path.mkdir(parents=True)
        last = values[str(job.config.name)]
        rows = [{"split": "val", "epoch": epoch, "mAP_3d": last - 9 * (2 - epoch)} for epoch in (1, 2)]
        job.folder.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (job.folder.path / "checkpoints").mkdir()
        job.folder.weights("last").write_text(str(job.config.name))
        files = {} if job.teacher is None else identify({"teacher": job.teacher.weights("last")})
        job.folder.prepare(job.config, files, "", fresh=False)
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(compare(matrix, jobs, ["mAP_3d"]))
    text = console.export_text()
    # students 30, 40; distilled 34, 46: gains 4 and 6. t(0.975, 1) = 12.706, so +- 12.706 * sd / sqrt(2).
    assert "+5.0 ± 12.7" in text
    assert "35.0 ± 63.5" in text
    assert "50.0" in text
    table = compare(matrix, jobs, ["Car/bbox/moderate"])  # a figure that the runs lack
    assert set(table.columns[2].cells) == {"-"}
    jobs[1].folder.metrics.rename(tmp_path / "kept")  # student of seed 0: distilled of seed 0 has no partner
    assert list(compare(matrix, jobs, ["mAP_3d"]).columns[3].cells) == ["+6.0", "", ""]
    (tmp_path / "kept").rename(jobs[1].folder.metrics)
    others = plan(matrix, [0, 1], tmp_path / "runs", ["train.batch_size=9"])  # the same folders, other settings
    assert all("started with train.batch_size=" in str(other_run(job)) for job in others)
    assert compare(matrix, others, ["mAP_3d"]).row_count == 0
    jobs[0].folder.weights("last").write_text("trained again")
    assert [other_run(job) is None for job in jobs] == [True, True, False, True, False]  # the teacher's students


def test_a_run_with_weights_is_not_trained_over_unless_forced(tmp_path: Path) -> None:
    write_data(tmp_path / "a", ["000000", "000001"], ["000002"])
    write_data(tmp_path / "b", ["000000", "000001"], ["000002"])
    (tmp_path / "b" / "training" / "label_2" / "000001.txt").write_text("")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings(tmp_path / "a", tmp_path / "runs")))
    (tmp_path / "matrix.yaml").write_text("{config: small.yaml, set: [train.epochs=1], runs: {student: {}}}")
    matrix = load_matrix(tmp_path / "matrix.yaml")
    (job,) = plan(matrix, [0], tmp_path / "runs", [])
    execute(job)
    assert is_finished(job)
    weights = job.folder.weights("last")
    before = weights.read_bytes()
    changes = {"train.epochs=2": r"train\.epochs=1, now 2", f"data.root={tmp_path / 'b'}": "another data"}
    for change, words in changes.items():
        (other,) = plan(matrix, [0], tmp_path / "runs", [])
        other = replace(other, config=override(other.config, [change]))
        assert not is_finished(other)
        with pytest.raises(ConfigError, match=f"{words}.*; --force trains it again"):
            execute(other)
        assert weights.read_bytes() == before
    execute(replace(other, force=True))
    assert weights.read_bytes() != before


CHAIN = """
config: small.yaml
set: [train.epochs=1, model.compression=4]
runs:
  second: {initial: first}
  first: {}
  elsewhere: {set: ['train.initial=PLACE/first-seed0']}
"""


def test_a_run_starts_from_the_weights_of_another(tmp_path: Path) -> None:
    write_data(tmp_path / "data", ["000000", "000001"], ["000002"])
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings(tmp_path / "data", tmp_path / "runs")))
    (tmp_path / "matrix.yaml").write_text(CHAIN.replace("PLACE", str(tmp_path / "runs")))
    matrix = load_matrix(tmp_path / "matrix.yaml")
    jobs = {job.run: job for job in plan(matrix, [0], tmp_path / "runs", [])}
    assert list(jobs) == ["first", "elsewhere", "second"]  # what others need comes first
    assert jobs["second"].config.train.initial == jobs["first"].folder.path
    assert jobs["elsewhere"].sources.keys() == {"initial"}  # so that it waits for the other
    with pytest.raises(CheckpointError, match="first-seed0: no such run folder; train the initial weights of second"):
        execute(jobs["second"])
    for job in jobs.values():
        execute(job)
    assert all(is_finished(job) and counts(job) for job in jobs.values())
    recorded = jobs["second"].folder.read_files()["initial"]
    assert recorded["sha256"] == identify({"it": jobs["first"].folder.weights("last")})["it"]["sha256"]
    first, second, same = (load_file(jobs[name].folder.weights("last")) for name in ("first", "second", "elsewhere"))
    assert all(torch.equal(value, same[name]) for name, value in second.items())
    assert not all(torch.equal(value, first[name]) for name, value in second.items())
    shutil.move(tmp_path / "runs", tmp_path / "moved")  # a path means nothing, the weights do
    (tmp_path / "matrix.yaml").write_text(CHAIN.replace("PLACE", str(tmp_path / "moved")))
    moved = plan(load_matrix(tmp_path / "matrix.yaml"), [0], tmp_path / "moved", [])
    assert all(is_finished(job) and counts(job) for job in moved)
    (other,) = (job for job in plan(matrix, [0], tmp_path / "moved", ["train.epochs=2"]) if job.run == "first")
    execute(replace(other, force=True))
    assert [job.run for job in moved if other_run(job) is None] == []
    with pytest.raises(ConfigError, match="started with another initial"):
        execute(next(job for job in moved if job.run == "second"))


def test_figures_are_the_last_epochs(matrix_file: Path, tmp_path: Path) -> None:
    job = plan(load_matrix(matrix_file), [0], tmp_path / "runs", [])[0]
    with pytest.raises(DataError, match="run it first"):
        figures(job)
    job.folder.path.mkdir(parents=True)
    job.folder.metrics.write_text(json.dumps({"split": "val", "epoch": 1, "mAP_3d": 1.0}) + "\n")
    with pytest.raises(DataError, match="epoch 2"):
        figures(job)


def test_interval_of_known_numbers() -> None:
    mean, half = interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert half == pytest.approx(4.302653 / 3**0.5, rel=1e-5)  # t(0.975, 2) from tables, sd 1


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [("teacher: teacher", "teacher: master", "names 'master'"), ("once:", "onec:", r"runs\.teacher\.onec"),
     ("runs:", "runs: [", "not valid YAML"),
    ("runs:", "set_fold: [seed=1]\nruns:", "'folds' is empty"),
    ("{once: true}", "{once: true, initial: studnet}", "run 'teacher' names 'studnet'"),
    ("{once: true}", "{once: true, initial: distilled}", "run 'distilled' needs itself"),
    ("runs:", "folds: {a: {}}\nruns:\n  early: {shared: true, initial: student}",
     "'early' serves all folds, but 'student'")],
)  # fmt: skip
def test_errors_name_the_file(matrix_file: Path, old: str, new: str, says: str) -> None:
    matrix_file.write_text(TEXT.replace(old, new))
    with pytest.raises(ConfigError, match=rf"matrix\.yaml.*{says}"):
        load_matrix(matrix_file)


EXPERIMENTS = sorted((Path(__file__).resolve().parents[2] / "configs" / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_projects_experiments_can_be_planned(path: Path, tmp_path: Path) -> None:
    jobs = plan(load_matrix(path), [0, 1], tmp_path / "runs", [])
    assert len({str(job.folder) for job in jobs}) == len(jobs) > 2
    for job in jobs:  # a teacher is of the student's kind and sees what it sees
        teachers = [other for other in jobs if job.teacher is not None and str(other.folder) == str(job.teacher)]
        assert len(teachers) == (job.teacher is not None)
        for other in teachers:
            assert other.config.model.name == job.config.model.name
            assert other.config.data.range == job.config.data.range
            assert other.config.model.compression < job.config.model.compression


def test_a_run_may_have_its_own_configuration_and_matrices_may_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("data: {root: nowhere}\n")
    (tmp_path / "two.yaml").write_text("model: {name: second}\n")
    path = tmp_path / "matrix.yaml"
    path.write_text("config: one.yaml\nfolder: common\nruns:\n  a: {}\n  b: {config: two.yaml}\n")
    matrix = load_matrix(path)
    assert matrix.folder == "common"
    assert [job.config.model.name for job in plan(matrix, [0], tmp_path / "runs", [])] == ["pointpillars", "second"]
