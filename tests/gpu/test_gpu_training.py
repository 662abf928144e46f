"""Training on the GPU: steps follow the CPU's, and a whole training writes a run that the CPU reads."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_kitti
import torch
from gpu_device import REAL, on_both, to_numpy
from models.frames import batch, pointpillars, second

from mink_pd.config import Config
from mink_pd.distill import Distiller
from mink_pd.models import build_detector
from mink_pd.train.objective import DetectionObjective

STEPS = 4


@pytest.mark.parametrize("make", [pointpillars, second], ids=["pointpillars", "second"])
@pytest.mark.parametrize("distilled", [False, True], ids=["alone", "distilled"])
def test_steps_of_gradient_descent(make: Any, distilled: bool) -> None:
    """Plain descent: Adam's first steps depend on a gradient's sign, which rounding decides where it nearly cancels."""

    def work(device: str) -> tuple[list[float], list[Any]]:
        config = make()
        config.distill.pointdistiller = config.distill.pointdistiller.model_copy(
            update={"rows": 10_000, "neighbours": 10_000}
        )
        student = build_detector(config)
        objective: Any = (
            Distiller(student, build_detector(config), config) if distilled else DetectionObjective(student)
        )
        objective.to(device).train()
        inputs = batch(300, 200).to(device)
        losses = []
        for _ in range(STEPS):
            terms, _ = objective(inputs)
            total = sum(terms.values())
            objective.zero_grad()
            total.backward()
            with torch.no_grad():
                for parameter in objective.parameters():
                    if parameter.grad is not None:
                        parameter -= 0.01 * parameter.grad
            losses.append(float(total.detach()))
        return losses, [to_numpy(x) for x in student.state_dict().values()]

    (losses, _), (found, _) = on_both(work)
    assert losses[-1] < losses[0]
    assert found == pytest.approx(losses, rel=2e-2 if REAL else 1e-3)


@pytest.fixture
def data(tmp_path: Path) -> dict:
    tiny_kitti.write_data(tmp_path / "data", ["000000", "000001"], ["000002"])
    settings = tiny_kitti.settings(tmp_path / "data", tmp_path / "runs")
    settings["train"]["accelerator"] = "cuda"
    return settings


@pytest.mark.skipif(not REAL, reason="needs a GPU: MINK_PD_TEST_GPU=1")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_on_the_gpu_is_resumed_and_read_by_the_cpu(data: dict, precision: str) -> None:
    from mink_pd.models.checkpoint import load_detector
    from mink_pd.train.start import distil, train_detector

    data["train"]["precision"] = precision
    data["name"] = "teacher"
    run = train_detector(Config.model_validate(data))
    assert json.loads((run.path / "metrics.jsonl").read_text().splitlines()[-1])["epoch"] == 2
    data["train"]["epochs"] = 3
    run = train_detector(Config.model_validate(data), resume=True)
    teacher = run.path / "checkpoints" / "last.safetensors"
    detector = load_detector(teacher)
    assert next(detector.parameters()).device.type == "cpu"
    with torch.no_grad():
        detector.eval().detect(detector(batch(200)))
    data["name"] = "student"
    data["model"]["compression"] = 4
    student = distil(Config.model_validate(data), teacher)
    assert (student.path / "checkpoints" / "last.safetensors").exists()
