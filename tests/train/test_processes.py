"""Two real processes (gloo) against one: norms, training, distillation, validation, files, errors."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from processes_worker import (
    BETWEEN,
    DETECTORS,
    OTHER_METHODS,
    ROWS,
    SINGLE,
    UNLABELLED,
    normalise,
    rows_of,
    train_and_distil,
)
from safetensors.torch import load_file
from stopped_training import stopped_after
from tiny_kitti import settings, write_data, write_frame
from torch import Tensor

from mink_pd.config import load_config
from mink_pd.data import open_dataset
from mink_pd.data.loading.epochs import make_loader
from mink_pd.detect.device import launch
from mink_pd.errors import ConfigError
from mink_pd.evaluate.scorers.kitti import KittiScorer
from mink_pd.models import build_detector
from mink_pd.models.checkpoint import checkpoint_file, load_detector
from mink_pd.processes import sum_over_processes
from mink_pd.sparse.norm import BatchNorm, synchronise
from mink_pd.train.reporter import read_metrics
from mink_pd.train.run_folder import RunFolder
from mink_pd.train.start import distil, train_detector
from mink_pd.train.validate import validate

WORKER = Path(__file__).parents[1] / "processes_worker.py"
# Nine frames, four a step: the last step of an epoch has one, so that one process has none. Seven epochs: 21 steps.
TRAIN, VAL = [f"{i:06d}" for i in range(9)], [f"{i:06d}" for i in range(9, 14)]


@dataclass
class Both:
    """runs: folder of all run folders; found: what each process saved; result: how torchrun ended."""

    runs: Path
    found: list[dict]
    result: subprocess.CompletedProcess


def torchrun(*command: object, timeout: float = 240) -> subprocess.CompletedProcess:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launcher, *map(str, command)], capture_output=True, text=True, env=environment, timeout=timeout
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """The runs of one process, then those of two."""
    folder = tmp_path_factory.mktemp("processes")
    write_data(folder / "kitti", TRAIN, VAL)
    np.zeros((0, 4), np.float32).tofile(folder / "kitti" / "training" / "velodyne" / "000003.bin")
    between = np.random.default_rng(0).uniform([32.01, -5, -2, 0], [32.14, 5, 0, 1], (300, 4))
    write_frame(folder / "kitti" / "training", "000099")
    between.astype(np.float32).tofile(folder / "kitti" / "training" / "velodyne" / "000099.bin")
    (folder / "kitti" / "ImageSets" / "between.txt").write_text("000000\n000099\n")
    for frame in ("000097", "000098"):
        write_frame(folder / "kitti" / "training", frame)
    (folder / "kitti" / "ImageSets" / "more.txt").write_text("000097\n000098\n")
    tree = settings(folder / "kitti", folder / "runs")
    tree["data"]["augment"] = {"ground_truth_sampling": {"Car": 3}}
    tree["train"] |= {"epochs": 7, "sync_norm": True, "ema": 0.9, "validate_every": 0, "precision": "64-true"}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    for detector, model in DETECTORS.items():
        own = tree | {"model": model | {"name": detector}, "train": tree["train"] | {"epochs": 1}}
        (folder / f"{detector}.yaml").write_text(yaml.safe_dump(own))
    threads = torch.get_num_threads()
    one = "train.batch_size=4"
    train_detector(load_config(path, [one, "name=teacher"]))
    teacher = checkpoint_file(folder / "runs" / "teacher")
    distil(load_config(path, [one, "name=distilled", "model.compression=4"]), teacher)
    distil(load_config(path, [one, *OTHER_METHODS, "name=methods"]), teacher)
    distil(load_config(path, [one, *UNLABELLED, "name=unlabelled"]), teacher)
    for detector in DETECTORS:
        train_and_distil(folder, detector, one)
    train_detector(load_config(path, [one, *BETWEEN, "name=alone_between"]))
    stop_halfway(path, one)
    result = torchrun(WORKER, path, folder)
    torch.set_num_threads(threads)
    files = [folder / f"{rank}.pt" for rank in range(2)]
    assert all(file.exists() for file in files), result.stderr
    return Both(folder / "runs", [torch.load(file, weights_only=False) for file in files], result)


def stop_halfway(path: Path, *overrides: str) -> None:
    """Three epochs of the same training."""
    config = load_config(path, [*overrides, "name=halfway"])
    with stopped_after(3):
        train_detector(config)


def state(run: Path) -> dict[str, Tensor]:
    found = RunFolder(run).read_state()
    assert found is not None
    return found["objective"]


def assert_same_weights(runs: Path, one: str, other: str) -> None:
    """In float64: in float32 the two differ in rounding alone, but that flips a ReLU now and then."""
    files = [load_file(runs / name / "checkpoints" / "last.safetensors") for name in (one, other)]
    for a, b in (files, [state(runs / name) for name in (one, other)]):
        assert a.keys() == b.keys()
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=0, atol=1e-8, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("case", range(len(ROWS)))
def test_synchronised_norm_is_torchs_on_all_rows(both: Both, case: int) -> None:
    expected = normalise(torch.nn.BatchNorm1d(3, eps=1e-3, momentum=0.1), torch.cat(rows_of(case)))
    ours = [found["norms"][case] for found in both.found]
    for name, values in expected.items():
        parts = [one[name] for one in ours]
        if name in ("y", "x"):
            found = torch.cat(parts)
        elif name in ("weight", "bias"):
            found = sum(parts)  # the processes' gradients are added up
        else:
            found = parts[0]
            assert torch.equal(*parts)
        torch.testing.assert_close(found, values, rtol=1e-5, atol=1e-6)


def test_absent_processes_add_nothing(both: Both) -> None:
    assert [found["norms"][-1]["sum"].tolist() for found in both.found] == [[0, 0]] * 2


def test_without_processes_the_norm_is_torchs() -> None:
    x = torch.randn(5, 3)
    norm, torchs = BatchNorm(3), torch.nn.BatchNorm1d(3)
    norm.synchronised = True
    assert torch.equal(norm(x), torchs(x))
    assert norm.state_dict().keys() == torchs.state_dict().keys()
    assert sum_over_processes(x) is x


def test_every_norm_is_synchronised_or_named(both: Both) -> None:
    detector = build_detector(load_config(both.runs.parent / "tiny.yaml"))
    synchronise(detector)
    assert all(m.synchronised for m in detector.modules() if isinstance(m, torch.nn.BatchNorm1d))
    with pytest.raises(ConfigError, match=r"train\.sync_norm: 1 is a BatchNorm1d"):
        synchronise(torch.nn.Sequential(BatchNorm(3), torch.nn.BatchNorm1d(3)))


def test_two_processes_train_the_weights_of_one(both: Both) -> None:
    assert_same_weights(both.runs, "teacher", "two")
    found = RunFolder(both.runs / "two").read_state()
    assert found is not None
    assert found["step"] == 21


def test_two_processes_distil_the_weights_of_one(both: Both) -> None:
    assert any(name.startswith("methods.") for name in state(both.runs / "two_distilled"))
    assert_same_weights(both.runs, "distilled", "two_distilled")


def test_every_other_method_distils_the_same_in_two_processes(both: Both) -> None:
    """Their means are over the rows and frames of both processes, not over each one's own."""
    assert_same_weights(both.runs, "methods", "two_methods")


@pytest.mark.parametrize("detector", list(DETECTORS))
def test_every_detector_trains_and_distils_the_same_in_two_processes(both: Both, detector: str) -> None:
    """PointRCNN is not among them: its second stage draws regions at random in each process."""
    assert_same_weights(both.runs, f"{detector}_one", f"{detector}_two")
    assert any(name.startswith("methods.") for name in state(both.runs / f"{detector}_two_student"))
    assert_same_weights(both.runs, f"{detector}_one_student", f"{detector}_two_student")


def test_unlabelled_frames_over_two_processes_are_those_of_one(both: Both) -> None:
    assert_same_weights(both.runs, "unlabelled", "two_unlabelled")
    both_metrics = [read_metrics(both.runs / name / "metrics.jsonl") for name in ("unlabelled", "two_unlabelled")]
    rows = [[row for row in metrics if row["split"] == "train"][-1] for metrics in both_metrics]
    for key in ("unlabelled/kept", "unlabelled/ignored", "box"):
        assert rows[0][key] == pytest.approx(rows[1][key])
        assert rows[0][key] > 0


def test_a_run_of_one_process_is_finished_by_two(both: Both) -> None:
    assert_same_weights(both.runs, "teacher", "halfway")


def test_a_process_whose_points_lie_beyond_the_last_voxel_keeps_no_one_waiting(both: Both) -> None:
    assert_same_weights(both.runs, "alone_between", "between")
    found = RunFolder(both.runs / "between_own").read_state()
    assert found is not None
    assert found["step"] == 2


def test_losses_are_logged_for_the_whole_batch(both: Both) -> None:
    for names in (("teacher", "two"), ("distilled", "two_distilled")):
        rows = [[json.loads(x) for x in (both.runs / n / "metrics.jsonl").read_text().splitlines()] for n in names]
        assert len(rows[0]) == len(rows[1]) == 8  # one writer
        for one, two in zip(*rows, strict=True):
            terms = [name for name in one if "/" not in name and name not in ("split", "frames_per_second", "seconds")]
            assert {name: two[name] for name in terms} == pytest.approx({name: one[name] for name in terms}, rel=1e-6)
            assert one.keys() == two.keys()


def test_figures_and_detections_are_exactly_those_of_one_process(both: Both) -> None:
    run = both.runs / "apart"
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    config = load_config(both.runs.parent / "tiny.yaml", list(SINGLE))
    detector, _ = load_detector(run)
    dataset = open_dataset(config.data, "val")
    fabric = launch(config.train)
    loader = make_loader(dataset, config.data, batch_size=1, training=False, seed=0)
    alone = validate(detector, loader.epoch(0), KittiScorer(), fabric)
    assert last["split"] == "val"
    assert {name: last[name] for name in alone.metrics} == alone.metrics
    alone.write(both.runs / "alone")
    assert sum(len(found) for _, found in alone.kept.values()) > 10
    for name in VAL:
        assert (run / "results" / f"{name}.txt").read_text() == (both.runs / "alone" / f"{name}.txt").read_text()
    assert sorted(file.stem for file in (run / "results").iterdir()) == VAL


def test_one_writer(both: Both) -> None:
    run = both.runs / "two"
    assert len(list(run.glob("events.out.tfevents.*"))) == 1
    assert (run / "environment.txt").read_text().count("started: ") == 1
    # The database of the training split, and that with the further set; neither was written twice.
    assert len(list((both.runs.parent / "kitti" / ".mink_pd").iterdir())) == 2


def test_a_bad_loss_in_one_process_ends_both_with_one_line(both: Both) -> None:
    lines = [line for line in both.result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, both.result.stderr
    assert "loss term 'box' is nan in frames" in lines[0]
    assert both.result.returncode != 0
    assert "Traceback" not in both.result.stderr.split("torch/distributed")[0]  # torchrun adds its own


def test_torchrun_and_configuration_must_agree(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"torchrun started 2 processes"):
        launch(load_config(both.runs.parent / "tiny.yaml").train)
