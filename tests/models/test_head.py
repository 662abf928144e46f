"""The head's single product is its three linear maps."""

import pytest
import torch
from models.frames import batch, pointpillars

from mink_pd.models import build_detector
from mink_pd.models.heads.anchor_head import AnchorHead


def test_outputs_and_gradients_are_those_of_the_three_maps() -> None:
    torch.manual_seed(0)
    head = AnchorHead(24, anchors=4, classes=2)
    layers = (head.score, head.box, head.direction)
    results = []
    for compute in (head.outputs, lambda x: [layer(x) for layer in layers]):
        x = torch.randn(50, 24, generator=torch.Generator().manual_seed(1)).requires_grad_()
        head.zero_grad()
        outputs = compute(x)
        sum((y * y.detach().cos()).sum() for y in outputs).backward()
        results.append([*outputs, x.grad, *(p.grad.clone() for p in head.parameters() if p.grad is not None)])
    assert len(results[0]) == 3 + 1 + 6
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("velocity", [False, True])
@pytest.mark.parametrize("read", ["scores and some", "some", "scores", "all"])
def test_what_is_said_of_some_anchors_is_that_of_all(read: str, velocity: bool) -> None:
    """Values and gradients, beside the maps one by one on all sites."""
    torch.manual_seed(0)
    head = AnchorHead(24, anchors=4, classes=2, velocity=velocity)
    maps = [(head.box, 7), (head.direction, 2)] + [(head.velocity, 2)] * velocity
    site, anchor = torch.tensor([3, 3, 49, 0, 3]), torch.tensor([0, 2, 1, 3, 0])  # some sites more than once
    results = []
    for ours in (True, False):
        x = torch.randn(50, 24, generator=torch.Generator().manual_seed(1)).requires_grad_()
        head.zero_grad()
        prediction = head.predict(x, torch.zeros(50, 4, 7), torch.zeros(50).long(), 1)
        if ours:
            if read == "all":
                assert prediction.boxes.shape == (50, 4, 7)
            said = prediction.at(site, anchor)
            scores, rows = prediction.scores, [said.boxes, said.directions] + [said.velocities] * velocity
        else:
            scores = head.score(x).view(50, 4, 2)
            rows = [layer(x).view(50, 4, width)[site, anchor] for layer, width in maps]
        outputs = [scores] * (read != "some") + rows * (read != "scores")
        sum((y * y.detach().cos()).sum() for y in outputs).backward()
        results.append([*outputs, x.grad, *(p.grad.clone() for p in head.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1]) > 3
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_what_is_read_after_a_pass_without_gradients_has_none() -> None:
    head = AnchorHead(24, anchors=4, classes=2)
    with torch.inference_mode():
        prediction = head.predict(torch.randn(5, 24), torch.zeros(5, 4, 7), torch.zeros(5).long(), 1)
    assert not prediction.boxes.requires_grad
    assert prediction.velocities is None


def test_no_anchor_says_nothing() -> None:
    head, none = AnchorHead(24, anchors=4, classes=2), torch.zeros(0).long()
    said = head.predict(torch.randn(5, 24), torch.zeros(5, 4, 7), torch.zeros(5).long(), 1).at(none, none)
    assert said.boxes.shape == (0, 7)
    said.boxes.sum().backward()
    assert head.box.weight.grad is not None
    assert not head.box.weight.grad.any()


def test_taps_are_the_outputs_at_the_neck() -> None:
    detector = build_detector(pointpillars()).eval()
    prediction = detector(batch(200, 100))
    sites, neck = len(prediction.frame), prediction.taps["neck"].features
    for name, layer in (("scores", detector.head.score), ("boxes", detector.head.box)):
        assert torch.equal(prediction.taps[name].features, getattr(prediction, name).reshape(sites, -1))
        torch.testing.assert_close(prediction.taps[name].features, layer(neck))


def test_networks_with_the_same_anchors_share_them() -> None:
    inputs = batch(200, 100)
    first, second, other = (build_detector(pointpillars(**more)).eval() for more in ({}, {"compression": 4.0}, {}))
    other.settings.head.headings = (0.0, 1.0)
    voxels = first.shared_input(inputs)
    a, b, c = (detector(inputs, voxels).anchors for detector in (first, second, other))
    assert a is b
    assert torch.equal(c, build_detector(other.config)(inputs).anchors)
    assert not torch.equal(a, c)


def test_boxes_are_never_rounded_to_half_precision() -> None:
    torch.manual_seed(0)
    head, x = AnchorHead(24, anchors=4, classes=2), torch.randn(50, 24).bfloat16().float()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = head.outputs(x.bfloat16())
    for a, b in zip(rounded, head.outputs(x), strict=True):
        assert torch.equal(a, b)
