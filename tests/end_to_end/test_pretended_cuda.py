"""Distillation and detection on a pretended GPU: nothing is left on the CPU, and the figures are the CPU's."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from models.frames import nuscenes, nuscenes_batch
from pretend_cuda import CudaTensor, pretended_cuda

from mink_pd.config import Config
from mink_pd.config.models import PointPillarsConfig
from mink_pd.data.batch import Batch, collate
from mink_pd.data.frame import Frame
from mink_pd.detect.predict import detect_batches
from mink_pd.distill import Distiller
from mink_pd.distill.inspect import inspect_importance
from mink_pd.models import build_detector
from mink_pd.native import build as native
from mink_pd.registry import METHODS

OTHERS = [name for name in METHODS if name != "pointdistiller"]
RANGE = (0.0, -6.4, -3.0, 12.8, 6.4, 1.0)


@pytest.fixture(autouse=True)
def _minkowskis_layers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On both sides, so that sums are in the same order."""
    monkeypatch.setenv("MINK_PD_NATIVE", "0")
    native.library.cache_clear()
    yield
    native.library.cache_clear()


def config(**distill: object) -> Config:
    model = {"voxel_size": (0.2, 0.2, 4.0), "pillar_channels": 8, "channels": [8, 12, 16], "layers": [1, 1, 1]}
    result = Config(model=PointPillarsConfig(neck_channels=8, **model))  # type: ignore[arg-type]
    result.data.range = RANGE
    result.model.nms.score = 0.0
    # All rows are neighbours: among some, a k-d tree and a sort choose different ones at equal distances.
    settings = result.distill.pointdistiller.model_copy(update={"rows": 20, "neighbours": 10_000, **distill})
    result.distill.pointdistiller = settings
    return result


def frames() -> list[Frame]:
    random = np.random.default_rng(0)
    boxes = np.array([[3.0, 0.5, -1.0, 3.9, 1.6, 1.5, 0.3], [5.0, -2.0, -0.8, 0.8, 0.6, 1.7, 1.0]])
    names = np.array(["Car", "Pedestrian"])
    low, high = [*RANGE[:3], 0], [*RANGE[3:], 1]
    clouds = [random.uniform(low, high, (points, 4)).astype(np.float32) for points in (300, 0, 200)]
    return [Frame(str(i), cloud, boxes, names) for i, cloud in enumerate(clouds)]


def batch(device: str) -> Batch:
    return collate(frames(), config().data.classes).to(device)


def losses(device: str, settings: Config, inputs: Batch | None = None) -> dict[str, float]:
    """Loss terms and the norm of the gradient of one step of distillation."""
    torch.manual_seed(0)
    distiller = Distiller(build_detector(settings), build_detector(settings), settings)
    distiller.to(device).train()
    terms, _ = distiller(batch(device) if inputs is None else inputs.to(device))
    sum(terms.values()).backward()  # type: ignore[union-attr]
    trained = [p for p in distiller.parameters() if p.requires_grad]
    assert all(isinstance(p.grad, CudaTensor) == (device != "cpu") for p in trained)
    norm = sum(float(p.grad.square().sum()) for p in trained) ** 0.5  # type: ignore[union-attr, misc]
    return {"norm": norm} | {name: float(value.detach()) for name, value in terms.items()}


def test_the_pretence_refuses_what_cuda_refuses() -> None:
    with pretended_cuda():
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        assert there.device == torch.device("cuda:0")
        assert isinstance(there.new_zeros(2) + 1, CudaTensor)
        assert not isinstance((2 * there).cpu() + here, CudaTensor)
        assert isinstance(here.to(there.device) + there, CudaTensor)
        for mistake in (
            lambda: there + here,
            lambda: torch.cat([there, here]),
            lambda: here[there.long()],
            lambda: there.index_add_(0, torch.arange(3), there),
            lambda: there.numpy(),
            lambda: np.asarray(there),
        ):
            with pytest.raises((RuntimeError, TypeError), match=r"cuda:0|on the CPU"):
                mistake()


@pytest.mark.parametrize(
    "distill", [{"importance": "points"}, {"knn_space": "features", "edge": "difference"}], ids=str
)
def test_one_step_of_distillation(distill: dict) -> None:
    settings = config(**distill)
    wanted = losses("cpu", settings)
    with pretended_cuda():
        found = losses("cuda", settings)
    assert found == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("control", ["shuffled", "averaged"])
def test_one_step_of_the_other_methods(control: str) -> None:
    settings = config()
    settings.distill = settings.distill.model_copy(update={"methods": OTHERS, "control": control})
    wanted = losses("cpu", settings)
    with pretended_cuda():
        assert losses("cuda", settings) == pytest.approx(wanted, rel=1e-4)


def test_one_step_with_a_pyramid_and_velocities() -> None:
    settings, inputs = nuscenes(), nuscenes_batch(300, 200)
    settings.distill.methods = ["pointdistiller", *OTHERS]
    settings.distill.pointdistiller.neighbours = 10_000
    wanted = losses("cpu", settings, inputs)
    with pretended_cuda():
        assert losses("cuda", settings, inputs) == pytest.approx(wanted, rel=1e-4)
        detector = build_detector(settings).to("cuda").eval()
        with torch.no_grad():
            (found, _) = detector.detect(detector(inputs.to("cuda")))
    assert found.velocities is not None
    assert found.velocities.shape == (len(found.boxes), 2)


def test_detections() -> None:
    torch.manual_seed(0)
    detector = build_detector(config())
    wanted = [found for _, found in detect_batches(detector, [batch("cpu")])]
    with pretended_cuda():
        found = [found for _, found in detect_batches(detector.to("cuda"), [batch("cpu")])]
    assert [len(one) for one in found] == [len(one) for one in wanted]
    assert len(found[0]) > 0
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours.boxes, theirs.boxes, rtol=1e-4, atol=1e-4)
        assert (ours.names == theirs.names).all()


def test_a_batch_without_points() -> None:
    with pretended_cuda():
        detector = build_detector(config()).to("cuda")
        empty = collate([frames()[1]], config().data.classes).to("cuda")
        assert all(float(term) == 0 for term in detector.loss(detector(empty), empty).values())


def test_looking_at_importance() -> None:
    with pretended_cuda():
        detector = build_detector(config()).to("cuda")
        view = inspect_importance(detector, frames()[0], "bev1", "points", rows=20)
    assert len(view.points) == len(view.importance) == 300
    assert len(view.selected) == 20
