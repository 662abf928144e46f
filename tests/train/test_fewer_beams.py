"""A student of fewer beams through whole trainings: what it sees in training and in validation, and resuming."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_kitti import settings, write_data

from mink_pd.config import Config, load_config
from mink_pd.config.data import FewerBeamsConfig
from mink_pd.data import open_dataset
from mink_pd.data.loading.batch import Batch
from mink_pd.data.loading.beams import in_beams
from mink_pd.distill import Distiller
from mink_pd.errors import ConfigError
from mink_pd.models import Detector
from mink_pd.models.checkpoint import checkpoint_file
from mink_pd.train import start
from mink_pd.train.loop import Trainer
from mink_pd.train.start import distil, train_detector

THIN = ("model.compression=4", "data.beams={sensor: hdl64e, keep: 16}", "distill.methods=[pointdistiller, sparsekd]")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a configuration with objects pasted in; its teacher has been trained."""
    write_data(tmp_path / "kitti", [f"{i:06d}" for i in range(4)], ["000004"])
    tree = settings(tmp_path / "kitti", tmp_path / "runs")
    tree["data"]["augment"] = {"ground_truth_sampling": {"Car": 4}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tree))
    train_detector(load_config(tmp_path / "tiny.yaml", ["name=teacher", "train.epochs=1"]))
    return tmp_path / "tiny.yaml"


def configured(path: Path, *overrides: str) -> Config:
    return load_config(path, [*THIN, *overrides])


def weights(path: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(path.parent / "runs" / name / "checkpoints" / "last.safetensors")


def test_what_student_and_teacher_see(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    judged: list[np.ndarray] = []
    forward, validate = Distiller.forward, start.validate

    def watched(distiller: Distiller, batch: Batch) -> Any:
        assert batch.teacher is not None
        seen.append((len(batch.points), len(batch.teacher.points)))
        return forward(distiller, batch)

    def watched_validation(detector: Detector, batches: Any, *rest: Any) -> Any:
        batches = list(batches)
        judged.extend(batch.points.numpy() for batch in batches)
        return validate(detector, batches, *rest)

    monkeypatch.setattr(Distiller, "forward", watched)
    monkeypatch.setattr(start, "validate", watched_validation)
    config = configured(path, "name=distilled", "train.epochs=1")
    distil(config, checkpoint_file(path.parent / "runs" / "teacher"))
    assert len(seen) == 2
    assert all(0 < ours < 0.5 * theirs for ours, theirs in seen)
    whole = open_dataset(load_config(path).data, "val")[0].points
    thin = whole[in_beams(whole, FewerBeamsConfig(sensor="hdl64e", keep=16))]
    assert len(judged) == 1
    assert 0 < len(judged[0]) <= len(thin)
    assert {tuple(point) for point in judged[0].tolist()} <= {tuple(point) for point in thin.tolist()}


def test_a_resumed_distillation_ends_in_the_same_bits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = checkpoint_file(path.parent / "runs" / "teacher")
    distil(configured(path, "name=whole"), teacher)
    save = Trainer.save

    def interrupted(trainer: Trainer) -> None:
        save(trainer)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            distil(configured(path, "name=resumed"), teacher)
    with pytest.raises(ConfigError, match=r"data\.beams\.keep|distill\.teacher_points"):
        distil(configured(path, "name=resumed", "distill.teacher_points=student"), teacher, resume=True)
    distil(configured(path, "name=resumed"), teacher, resume=True)
    whole, resumed = weights(path, "whole"), weights(path, "resumed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    distil(configured(path, "name=thinned", "distill.teacher_points=student"), teacher)
    thinned = weights(path, "thinned")
    assert any(not torch.equal(whole[name], thinned[name]) for name in whole)


@pytest.mark.parametrize(
    ("keep", "of", "text"),
    [
        (65, "teacher", r"'data\.beams\.keep': 65, but hdl64e has 64 beams"),
        (24, "half", r"'data\.beams': the student sees 24 of hdl64e beams, not all of which are among the 32"),
    ],
)
def test_beams_that_do_not_fit_are_refused_before_writing(path: Path, keep: int, of: str, text: str) -> None:
    if of == "half":
        half = ["name=half", "train.epochs=1", "data.beams={sensor: hdl64e, keep: 32}"]
        train_detector(load_config(path, half))
    config = configured(path, "name=refused", f"data.beams.keep={keep}")
    with pytest.raises(ConfigError, match=text):
        distil(config, checkpoint_file(path.parent / "runs" / of))
    assert not (path.parent / "runs" / "refused").exists()
