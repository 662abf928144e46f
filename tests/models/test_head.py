"""The head's single product is its three linear maps."""

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


def test_taps_are_the_outputs_at_the_neck() -> None:
    detector = build_detector(pointpillars()).eval()
    prediction = detector(batch(200, 100))
    sites, neck = len(prediction.frame), prediction.taps["neck"].features
    for name, layer in (("scores", detector.head.score), ("boxes", detector.head.box)):
        assert torch.equal(prediction.taps[name].features, getattr(prediction, name).reshape(sites, -1))
        torch.testing.assert_close(prediction.taps[name].features, layer(neck))


def test_boxes_are_never_rounded_to_half_precision() -> None:
    torch.manual_seed(0)
    head, x = AnchorHead(24, anchors=4, classes=2), torch.randn(50, 24).bfloat16().float()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = head.outputs(x.bfloat16())
    for a, b in zip(rounded, head.outputs(x), strict=True):
        assert torch.equal(a, b)
