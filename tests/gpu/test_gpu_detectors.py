"""Every detector on the GPU: its taps, losses, gradients and detections are the CPU's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gpu_device import REAL, TOLERANCE, assert_close, gpu, on_both, tap_rows
from models import frames

from mink_pd.config import Config
from mink_pd.data.loading.batch import Batch
from mink_pd.detect.predict import detect_batches
from mink_pd.models import build_detector

Case = tuple[Callable[[], Config], Callable[[], Batch]]


def kitti() -> Batch:
    return frames.batch(300, 0, 200)


def nuscenes() -> Batch:
    return frames.nuscenes_batch(300, 200)


CASES: dict[str, Case] = {
    "pointpillars": (frames.pointpillars, kitti),
    "pointpillars, dense": (lambda: frames.pointpillars(bev="dense"), kitti),
    "second": (frames.second, kitti),
    "nuscenes": (frames.nuscenes, nuscenes),
    "centerpoint, pillars": (frames.centerpoint, kitti),
    "centerpoint, voxels": (frames.centerpoint_voxels, kitti),
    "centerpoint, nuscenes": (frames.centerpoint_nuscenes, nuscenes),
}


@pytest.mark.parametrize("case", CASES)
def test_taps_losses_and_gradients(case: str) -> None:
    settings, batch = CASES[case]

    def work(device: str) -> tuple[Any, dict[str, float]]:
        detector: Any = build_detector(settings()).to(device).train()
        inputs = batch().to(device)
        prediction = detector(inputs)
        taps = {name: tap_rows(tap) for name, tap in prediction.taps.items()}
        terms = detector.loss(prediction, inputs)
        sum(terms.values()).backward()
        assert all(p.grad.device.type == device for p in detector.parameters() if p.grad is not None)
        norm = sum(float(p.grad.square().sum()) for p in detector.parameters() if p.grad is not None) ** 0.5
        return taps, {"gradient": norm} | {name: float(value.detach()) for name, value in terms.items()}

    (taps, figures), (found_taps, found_figures) = on_both(work)
    assert found_figures == pytest.approx(figures, rel=TOLERANCE, abs=1e-6)
    assert found_taps.keys() == taps.keys()
    for name, levels in taps.items():
        for (places, values), (found_places, found) in zip(levels, found_taps[name], strict=True):
            assert (found_places == places).all(), name
            assert_close(found, values)


@pytest.mark.parametrize("case", CASES)
def test_detections(case: str) -> None:
    settings, batch = CASES[case]

    def work(device: str) -> list[Any]:
        config = settings()
        config.model.nms.score = 0.0
        detector = build_detector(config).to(device)
        return [found for _, found in detect_batches(detector, [batch()])]

    wanted, found = on_both(work)
    assert len(wanted[0]) > 0
    for ours, theirs in zip(found, wanted, strict=True):
        if REAL:  # untrained scores are nearly equal: rounding decides which of two overlapping boxes stays
            assert len(ours) == pytest.approx(len(theirs), rel=0.1, abs=2)
            assert_close(np.sort(ours.scores)[-5:], np.sort(theirs.scores)[-5:])
            continue
        np.testing.assert_allclose(ours.boxes, theirs.boxes, rtol=1e-4, atol=1e-4)
        assert (ours.names == theirs.names).all()


def test_a_batch_without_points() -> None:
    with gpu():
        detector = build_detector(frames.pointpillars()).to("cuda")
        empty = frames.batch(0).to("cuda")
        assert all(float(term.detach()) == 0 for term in detector.loss(detector(empty), empty).values())


def test_pointrcnn_learns_and_detects() -> None:
    """It samples regions at random, so that its figures are not the CPU's."""
    from models.pointrcnn import test_detector as tiny

    with gpu():
        detector: Any = build_detector(tiny.config()).to("cuda").train()
        inputs = tiny.batch(120, 90).to("cuda")
        terms = detector.loss(detector(inputs), inputs)
        total = sum(terms.values())
        total.backward()
        assert bool(torch.isfinite(total.detach().cpu()))
        assert all(p.grad is None or p.grad.is_cuda for p in detector.parameters())
        with torch.no_grad():
            found = detector.eval().detect(detector(inputs))
    assert len(found) == 2
