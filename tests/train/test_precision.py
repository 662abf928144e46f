"""train.precision: what is rounded, and that every precision trains, validates and distils."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from processes_worker import DETECTORS
from random_taps import random_batch
from tiny_kitti import settings, write_data
from tiny_pillars import tiny_config, tiny_networks

from mink_pd.config import load_config
from mink_pd.data.loading.batch import Batch
from mink_pd.distill import Distiller
from mink_pd.errors import ConfigError
from mink_pd.models.checkpoint import checkpoint_file
from mink_pd.registry import METHODS
from mink_pd.train.objective import DetectionObjective
from mink_pd.train.start import distil, train_detector

STAGE = {"radii": [1.0], "neighbours": [8], "channels": [[8, 8]]}
MODELS = DETECTORS | {
    "pointrcnn": {
        "points": 256, "stages": [STAGE | {"points": 64}], "propagation": [[8, 8]], "head_channels": [8],
        "roi": {"points": 16, "channels": [8], "head_channels": [8], "sampled": 8, "stages": [STAGE | {"points": 0}]},
    }
}  # fmt: skip


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    write_data(tmp_path / "data", ["000000", "000001"], ["000002"])
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings(tmp_path / "data", tmp_path / "runs")))
    return path


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
def test_a_training_sees_the_points_and_boxes_of_the_files(
    precision: str, configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16, 30 m are known to 12 cm."""
    forward, seen = DetectionObjective.forward, []

    def spy(self: DetectionObjective, batch: Batch):  # type: ignore[no-untyped-def]
        seen.append((batch, len(self.detector.shared_input(batch))))
        return forward(self, batch)

    monkeypatch.setattr(DetectionObjective, "forward", spy)
    train_detector(load_config(configuration, [f"train.precision={precision}", "train.epochs=1", "name=one"]))
    train_detector(load_config(configuration, ["train.epochs=1", "name=single"]))
    (batch, pillars), (wanted, wanted_pillars) = seen
    assert torch.equal(batch.points, wanted.points)
    assert batch.points.dtype == torch.float32
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(batch.boxes, wanted.boxes, strict=True))
    assert pillars == wanted_pillars


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
@pytest.mark.parametrize("detector", ["pointpillars", "dense", *MODELS])
def test_every_detector_trains_and_is_distilled(detector: str, precision: str, configuration: Path) -> None:
    tree = yaml.safe_load(configuration.read_text())
    if detector == "dense":
        tree["model"]["bev"] = "dense"
    elif detector != "pointpillars":
        tree["model"] = MODELS[detector] | {"name": detector}
    tree["train"] |= {"precision": precision, "epochs": 1}
    if detector == "pointrcnn":
        tree["distill"]["taps"] = tree["distill"]["pointdistiller"]["taps"] = ["neck"]
    configuration.write_text(yaml.safe_dump(tree))
    if (detector, precision) == ("pointrcnn", "64-true"):
        with pytest.raises(ConfigError, match="pointrcnn does not compute in float64"):
            load_config(configuration)
        return
    teacher = train_detector(load_config(configuration, ["name=teacher"]))
    student = distil(load_config(configuration, ["name=student", "model.compression=4"]), checkpoint_file(teacher.path))
    for run in (teacher, student):
        assert [json.loads(line)["split"] for line in run.metrics.read_text().splitlines()] == ["train", "val"]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_compares_in_single_precision(name: str) -> None:
    """Convolutions for training stay in float32 on the CPU, so only the head's taps differ."""
    config = tiny_config(methods=[name])
    teacher, student = tiny_networks(config)
    distiller, batch = Distiller(student, teacher, config), random_batch(200, 100)
    exact, _ = distiller(batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, _ = distiller(batch)
    own = [term for term in exact if term.startswith(name)]
    assert own
    for term in own:
        assert mixed[term].dtype == torch.float32
        assert float(mixed[term].detach()) == pytest.approx(float(exact[term].detach()), rel=0.02)
    sum(mixed.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


def test_a_teacher_in_full_precision_stays_so_under_the_students_autocast() -> None:
    config = tiny_config(methods=["fitnets"])
    teacher, student = tiny_networks(config)
    distiller, batch = Distiller(student, teacher, config), random_batch(200, 100)
    with torch.no_grad():
        wanted = teacher(batch).taps["neck"].features
    seen = []
    teacher.register_forward_hook(lambda *call: seen.append(call[-1].taps["neck"].features))
    with torch.autocast("cpu", torch.bfloat16):
        distiller(batch)
    assert torch.equal(seen[0], wanted)
