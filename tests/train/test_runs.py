"""Run folders: what may be resumed or replaced, what is written, moving a run elsewhere."""

from pathlib import Path

import pytest
from stand_in import make_trainer

from mink_pd.config import Config, load_config
from mink_pd.data.kitti import KittiConfig
from mink_pd.errors import CheckpointError, ConfigError
from mink_pd.models.checkpoint import checkpoint_file
from mink_pd.train.reporter import keep_epochs, read_metrics
from mink_pd.train.runs import RunFolder, identify


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(name="run", runs=tmp_path / "runs")


@pytest.fixture
def run(config: Config) -> RunFolder:
    folder = RunFolder.of(config)
    folder.prepare(config, {}, "python: 3\n", fresh=True)
    return folder


def test_a_taken_folder_is_refused_with_the_three_ways_out(config: Config, run: RunFolder) -> None:
    with pytest.raises(ConfigError) as error:
        run.check(config, {}, resume=False, force=False)
    message = str(error.value)
    assert message.startswith(str(run.path))
    assert all(way in message for way in ("--resume", "--force", "name="))
    run.check(config, {}, resume=True, force=False)
    run.check(config, {}, resume=False, force=True)


def test_an_absent_or_empty_folder_is_free(config: Config) -> None:
    RunFolder.of(config).check(config, {}, resume=False, force=False)
    RunFolder.of(config).path.mkdir(parents=True)
    RunFolder.of(config).check(config, {}, resume=False, force=False)


@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_that_is_no_run_is_never_touched(config: Config, resume: bool) -> None:
    folder = RunFolder.of(config)
    folder.path.mkdir(parents=True)
    (folder.path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not a run folder"):
        folder.check(config, {}, resume=resume, force=not resume)


def test_force_removes_the_old_run_and_nothing_else(config: Config, run: RunFolder) -> None:
    run.metrics.write_text("old\n")
    (run.checkpoints / "last.safetensors").write_text("old")
    (run.path / "notes.txt").write_text("mine")
    run.prepare(config, {}, "python: 4\n", fresh=True)
    assert not run.metrics.exists()
    assert not list(run.checkpoints.iterdir())
    assert run.environment.read_text() == "python: 4\n"
    assert (run.path / "notes.txt").read_text() == "mine"


def test_resuming_with_other_settings_names_the_key(config: Config, run: RunFolder) -> None:
    other = config.model_copy(deep=True)
    other.train.epochs = 3
    with pytest.raises(ConfigError, match=r"started with train\.epochs=80, now 3"):
        run.check(other, {}, resume=True, force=False)


def test_resuming_elsewhere_is_allowed(config: Config, run: RunFolder, tmp_path: Path) -> None:
    run.path.rename(tmp_path / "moved")
    moved = Config(name="moved", runs=tmp_path, data=KittiConfig(root=tmp_path / "kitti", workers=0))
    RunFolder.of(moved).check(moved, {}, resume=True, force=False)


def test_resuming_with_another_teacher_is_refused(config: Config, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.safetensors"
    teacher.write_text("one")
    run = RunFolder.of(config)
    run.prepare(config, identify({"teacher": teacher}), "", fresh=True)
    run.check(config, identify({"teacher": teacher.rename(tmp_path / "moved")}), resume=True, force=False)
    teacher.write_text("two")
    for files in (identify({"teacher": teacher}), {}):
        with pytest.raises(ConfigError, match="another teacher"):
            run.check(config, files, resume=True, force=False)


@pytest.mark.parametrize("name", [None, "", "..", "a/b", "/tmp/x"])
def test_a_name_must_be_one_folder(name: str | None) -> None:
    with pytest.raises(ConfigError, match="name"):
        RunFolder.of(Config(name=name))


def test_the_written_configuration_reads_back(config: Config, run: RunFolder) -> None:
    assert load_config(run.config) == config


def test_a_second_start_is_added_to_the_environment(config: Config, run: RunFolder) -> None:
    run.prepare(config, {}, "python: 4\n", fresh=False)
    assert run.environment.read_text() == "python: 3\n\npython: 4\n"


def test_left_overs_of_a_killed_process_go(config: Config, run: RunFolder) -> None:
    (run.checkpoints / ".last.state.pt.abc").write_text("half")
    (run.checkpoints / "last.state.pt").write_text("whole")
    run.prepare(config, {}, "", fresh=False)
    assert [file.name for file in run.checkpoints.iterdir()] == ["last.state.pt"]


def test_metrics_are_cut_back_to_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1, "loss": 0.1}\n{"epoch": 2}\n{"epoch": 2, "split": "val"}\n{"epoch": 3}\n{"epo')
    keep_epochs(path, 2)
    assert read_metrics(path) == [{"epoch": 1, "loss": 0.1}, {"epoch": 2}, {"epoch": 2, "split": "val"}]
    keep_epochs(path, 0)
    assert path.read_text() == ""


def test_checkpoints_of_a_run_folder(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"last\.safetensors: no such checkpoint"):
        checkpoint_file(trainer.run.path)
    trainer.fit()
    assert checkpoint_file(trainer.run.path) == trainer.run.weights("last")
    with pytest.raises(CheckpointError, match=r"best\.safetensors"):  # nothing was found: there is no best
        checkpoint_file(trainer.run.path, "best")


@pytest.mark.parametrize(("synchronised", "batch_size", "fits"), [(True, 4, True), (False, 4, False), (True, 2, False)])
def test_another_number_of_processes_must_give_the_same_steps(
    tmp_path: Path, synchronised: bool, batch_size: int, fits: bool
) -> None:
    before = Config(name="run", runs=tmp_path)
    before.train = before.train.model_copy(update={"devices": 2, "batch_size": 2, "sync_norm": synchronised})
    run = RunFolder.of(before)
    run.prepare(before, {}, "", fresh=True)
    now = before.model_copy(deep=True)
    now.train = now.train.model_copy(update={"devices": 1, "batch_size": batch_size})
    assert run.matches(now, {}) is fits
