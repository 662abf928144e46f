"""Steps of distillation on the GPU: the losses and gradients are the CPU's, and those of the published formula."""

from dataclasses import replace

import numpy as np
import pytest
from gpu_device import REAL, TOLERANCE, gpu, on_both, plain_layers
from models.frames import batch, nuscenes, nuscenes_batch, pointpillars, second

from benchmarks.inputs import Inputs, Sizes
from benchmarks.rows.distillation import Compared
from mink_pd.config import Config
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.distill import Distiller
from mink_pd.distill.inspect import inspect_importance
from mink_pd.models import build_detector
from mink_pd.registry import METHODS

OTHERS = [name for name in METHODS if name != "pointdistiller"]
# All rows are neighbours: among some, a k-d tree and a sort choose different ones at equal distances. A real GPU also
# chooses other rows where their importance is equal, as numbers of points often are.
ALL = 10_000
ROWS = ALL if REAL else 20


def settings(make=pointpillars, methods: list[str] | None = None, **distill: object) -> Config:  # type: ignore[no-untyped-def]
    result = make()
    update = {"rows": ROWS, "neighbours": ALL, **distill}
    result.distill.pointdistiller = result.distill.pointdistiller.model_copy(update=update)
    if methods:
        result.distill = result.distill.model_copy(update={"methods": methods})
    return result


def figures(device: str, config: Config, inputs: Batch) -> dict[str, float]:
    """Loss terms and the norm of the gradient of one step."""
    distiller = Distiller(build_detector(config), build_detector(config), config)
    distiller.to(device).train()
    terms, _ = distiller(inputs.to(device))
    sum(terms.values()).backward()  # type: ignore[union-attr]
    trained = [p for p in distiller.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.device.type == device for p in trained)
    norm = sum(float(p.grad.square().sum()) for p in trained) ** 0.5  # type: ignore[union-attr, misc]
    return {"norm": norm} | {name: float(value.detach()) for name, value in terms.items()}


def compare(config: Config, inputs: Batch) -> None:
    wanted, found = on_both(lambda device: figures(device, config, inputs))
    assert found == pytest.approx(wanted, rel=TOLERANCE, abs=1e-6)


@pytest.mark.parametrize(
    "distill", [{"importance": "points"}, {"knn_space": "features", "edge": "difference"}], ids=str
)
def test_pointdistiller(distill: dict) -> None:
    compare(settings(**distill), batch(300, 0, 200))


def test_pointdistiller_on_second() -> None:
    compare(settings(second), batch(300, 0, 200))


@pytest.mark.parametrize("control", ["shuffled", "averaged"])
def test_the_other_methods(control: str) -> None:
    config = settings(methods=OTHERS)
    config.distill.control = control
    compare(config, batch(300, 0, 200))


def test_a_pyramid_with_velocities() -> None:
    compare(settings(nuscenes, ["pointdistiller", *OTHERS]), nuscenes_batch(300, 200))


def test_a_teacher_that_sees_more_points() -> None:
    random, whole = np.random.default_rng(1), batch(300, 0, 200).frames
    marked = [replace(frame, seen=random.random(len(frame.points)) < 0.5) for frame in whole]
    config = settings(methods=["pointdistiller", *OTHERS])
    compare(config, collate(marked, config.data.classes))


def test_the_loss_is_that_of_the_published_formula() -> None:
    """``benchmarks/rows/published.py`` writes out every edge, as the paper does."""

    class Random(Inputs):
        sweep = np.random.default_rng(0).uniform([-9, -9, -3, 0], [9, 9, 1, 1], (200, 4)).astype(np.float32)

    with plain_layers(), gpu():
        compared = Compared(Random(sizes=Sizes(selected=100, neighbours=8)), "cuda")
        compared.check()  # raises where losses or gradients differ
        assert compared.student.grad is not None
        assert compared.student.grad.is_cuda


def test_looking_at_importance() -> None:
    with gpu():
        detector = build_detector(pointpillars()).to("cuda")
        frame = batch(300).frames[0]
        view = inspect_importance(detector, frame, "bev1", "points", rows=20)
    assert len(view.points) == len(view.importance) == 300
    assert len(view.selected) == 20
