"""Run folders: what may be resumed or replaced, what is written, moving a run elsewhere."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stand_in import make_trainer
from tiny_kitti import write_data

from mink_pd.config import Config, load_config
from mink_pd.data import open_dataset
from mink_pd.data.dataset import SAMPLED
from mink_pd.data.datasets.kitti_dataset import KittiConfig
from mink_pd.errors import CheckpointError, ConfigError, DataError
from mink_pd.models import build_detector
from mink_pd.models.checkpoint import checkpoint_file, save_weights
from mink_pd.train import run_folder
from mink_pd.train.reporter import keep_epochs, read_metrics
from mink_pd.train.run_folder import RunFolder, identify, identify_data
from mink_pd.train.state import save_state


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
    (run.checkpoints / ".abcd1234.part").write_text("half")
    (run.checkpoints / "last.state.pt").write_text("whole")
    run.prepare(config, {}, "", fresh=False)
    assert [file.name for file in run.checkpoints.iterdir()] == ["last.state.pt"]


def test_metrics_are_cut_back_to_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [{"split": split, "epoch": epoch} for split, epoch in (("train", 1), ("train", 2), ("val", 2), ("train", 3))]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows) + '{"epo')
    keep_epochs(path, 2)
    assert read_metrics(path) == rows[:3]
    keep_epochs(path, 0)
    assert path.read_text() == ""


@pytest.mark.parametrize("line", ["{", "[]", "5", '{"epoch": 1}', '{"epoch": "1", "split": "val"}', "[" * 9999])
def test_a_damaged_line_of_metrics_hides_nothing_that_follows(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{line}\n{{"split": "val", "epoch": 2}}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl: line 1 is damaged"):
        read_metrics(path)


def test_nothing_that_is_read_lies_in_what_is_replaced(config: Config, run: RunFolder, tmp_path: Path) -> None:
    """Not the teacher, be it by a link, and not the data."""
    teacher = run.weights("last")
    teacher.write_text("weights")
    (tmp_path / "link.safetensors").symlink_to(teacher)
    (tmp_path / "runs" / "alias").symlink_to(run.path)
    labels = tmp_path / "kitti" / "training" / "label_2"
    labels.parent.mkdir(parents=True)
    run.results.mkdir()
    labels.symlink_to(run.results)
    for reads in ({"teacher": teacher}, {"teacher": tmp_path / "link.safetensors"}, {"data": tmp_path / "kitti"}):
        files = {name: {"path": str(path), "sha256": ""} for name, path in reads.items()}
        for resume, force in ((False, True), (True, False), (False, False)):
            with pytest.raises(ConfigError, match=f"the {next(iter(reads))} is read from .*{run.path.name}"):
                run.check(config, files, resume, force)
    alias = Config(name="alias", runs=tmp_path / "runs")
    with pytest.raises(ConfigError, match="the teacher is read from"):
        RunFolder.of(alias).check(alias, identify({"teacher": teacher}), resume=False, force=True)
    other = Config(name="other", runs=tmp_path / "runs")
    RunFolder.of(other).check(other, identify({"teacher": teacher}), resume=False, force=True)


WRITES = ("write_text", "make_folder", "sweep")


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("taken", [True, False])
def test_a_kill_at_any_write_leaves_what_resume_and_force_can_handle(
    config: Config, tmp_path: Path, taken: bool, fresh: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write, and each removal of an earlier run, is the last one once."""
    files = {"teacher": {"path": str(tmp_path / "t"), "sha256": "1"}}
    left = 0

    def mortal(function: Callable) -> Callable:
        def call(*arguments: object, **more: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return function(*arguments, **more)

        return call

    for step in range(40):
        folder = RunFolder(tmp_path / "runs" / f"{step}")
        own = config.model_copy(update={"name": f"{step}"})
        if taken:
            folder.prepare(own, files, "before\n", fresh=True)
            folder.metrics.write_text("")
            save_state(folder.state, {"epoch": 1})
        with monkeypatch.context() as patch:
            for name in WRITES:
                patch.setattr(run_folder, name, mortal(getattr(run_folder, name)))
            patch.setattr("shutil.rmtree", mortal(shutil.rmtree))
            patch.setattr(Path, "unlink", mortal(Path.unlink))
            left = step
            try:
                folder.prepare(own, files, "now\n", fresh=fresh)
                break
            except KeyboardInterrupt:
                pass
        for resume in (True, False):
            folder.check(own, files, resume=resume, force=not resume)
        folder.prepare(own, files, "again\n", fresh=folder.read_state() is None)
        assert folder.config.exists()
        assert folder.read_files() == files
    assert 5 < step < 39


def test_finished_epochs_without_a_state_are_not_thrown_away(config: Config, run: RunFolder) -> None:
    small = {"pillar_channels": 8, "channels": [8, 8, 8], "layers": [1, 1, 1], "neck_channels": 8}
    network = Config.model_validate({"model": small})
    save_weights(run.weights("last"), build_detector(network).state_dict(), network, epoch=1)
    run.check(config, {}, resume=True, force=False)  # a kill between weights and state: the first epoch is lost
    save_weights(run.weights("last"), build_detector(network).state_dict(), network, epoch=2)
    with pytest.raises(CheckpointError, match=r"last\.state\.pt: missing, and last\.safetensors holds epoch 2"):
        run.check(config, {}, resume=True, force=False)
    run.check(config, {}, resume=False, force=True)
    save_weights(run.weights("last"), build_detector(network).state_dict(), network, epoch=config.train.epochs)
    run.check(config, {}, resume=True, force=False)
    assert run.epochs_done() == config.train.epochs  # the state may be removed when all is done


@pytest.mark.parametrize("text", ["", "[]", "{", '{"teacher": 5}', '{"teacher": {}}', "\udcff"])
def test_a_damaged_list_of_files_is_named(config: Config, run: RunFolder, text: str) -> None:
    run.files.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"files\.json: "):
        run.check(config, {}, resume=True, force=False)
    run.check(config, {}, resume=False, force=True)


def test_other_frames_under_another_root_are_noticed(tmp_path: Path) -> None:
    write_data(tmp_path / "a", ["000000", "000001"], ["000002"])
    shutil.copytree(tmp_path / "a", tmp_path / "moved")
    before = Config(name="run", runs=tmp_path / "runs", data=KittiConfig(root=tmp_path / "a"))
    run = RunFolder.of(before)
    run.prepare(before, identify_data(before.data), "", fresh=True)
    moved = before.model_copy(update={"data": KittiConfig(root=tmp_path / "moved")})
    run.check(moved, identify_data(moved.data), resume=True, force=False)
    changes = {
        "training/velodyne/000001.bin": lambda data: data[:-4] + b"\0\0\0\x3f",
        "training/label_2/000002.txt": lambda data: data.replace(b"1.50", b"1.60"),
        "training/calib/000000.txt": lambda data: data.replace(b"7.215", b"7.225"),
        "ImageSets/train.txt": lambda data: data[:6],
    }
    for name, change in changes.items():
        root = tmp_path / Path(name).name
        shutil.copytree(tmp_path / "a", root)
        (root / name).write_bytes(change((root / name).read_bytes()))
        assert (root / name).read_bytes() != (tmp_path / "a" / name).read_bytes()
        other = before.model_copy(update={"data": KittiConfig(root=root)})
        with pytest.raises(ConfigError, match=rf"started with another data \(from {tmp_path / 'a'}\)"):
            run.check(other, identify_data(other.data), resume=True, force=False)


def test_a_change_in_any_cloud_is_noticed(tmp_path: Path) -> None:
    """Also in one that is not read whole, where neither its size nor its time says so."""
    ids = [f"{number:06d}" for number in range(2 * SAMPLED)]
    write_data(tmp_path, ids, ids[:1])
    data = KittiConfig(root=tmp_path)
    before = open_dataset(data, "train").identity()
    assert open_dataset(data, "train").identity() == before
    path = tmp_path / "training" / "velodyne" / f"{ids[1]}.bin"
    cloud, times = path.read_bytes(), path.stat()
    points = np.frombuffer(cloud, np.float32).reshape(-1, 4).copy()
    points[:, 3] *= 0.5
    path.write_bytes(points.tobytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert open_dataset(data, "train").identity() != before
    path.write_bytes(cloud[:-16])
    assert open_dataset(data, "train").identity() != before
    path.write_bytes(cloud)
    assert open_dataset(data, "train").identity() == before


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


@pytest.mark.parametrize(("devices", "fits"), [(2, True), (4, False)])
def test_another_number_of_processes_must_mix_as_many_unlabelled_frames(
    tmp_path: Path, devices: int, fits: bool
) -> None:
    """Half of twelve and of twice six are six; half of three are two, of four times three eight."""
    before = Config(name="run", runs=tmp_path)
    before.train = before.train.model_copy(update={"batch_size": 12, "sync_norm": True})
    before.distill.unlabelled = before.distill.unlabelled.model_copy(update={"paths": ["sweeps"], "share": 0.5})
    run = RunFolder.of(before)
    files = {"teacher": {"path": "teacher", "sha256": "0"}}
    run.prepare(before, files, "", fresh=True)
    now = before.model_copy(deep=True)
    now.train = now.train.model_copy(update={"devices": devices, "batch_size": 12 // devices})
    assert run.matches(now, files) is fits
