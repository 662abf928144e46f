"""Feature overhaul: the margin against drawn numbers, the partial distance against loops."""

import pytest
import torch
from random_taps import RandomTaps

from mink_pd.distill.methods.overhaul import Overhaul, OverhaulConfig, margin


def test_margin_is_the_mean_of_what_the_relu_hid() -> None:
    torch.manual_seed(0)
    mean, spread = torch.tensor([0.5, 0.0, -1.0]), torch.tensor([1.0, 2.0, 0.7])
    hidden = mean + spread * torch.randn(200_000, 3)
    wanted = [float(hidden[hidden[:, c] < 0, c].mean()) for c in range(3)]
    assert margin(hidden.relu()).tolist() == pytest.approx(wanted, rel=0.03)


def test_margin_of_silent_and_always_active_channels_is_finite() -> None:
    values = margin(torch.stack([torch.zeros(50), torch.rand(50) + 1], dim=1))
    assert values[0] == 0
    assert torch.isfinite(values).all()
    assert values[1] < 0


def test_loss_is_the_papers() -> None:
    pair = RandomTaps(30, 20).features(5, 3)
    method = Overhaul("overhaul", OverhaulConfig(), {"bev": (5, 3)})
    loss, _ = method.compare(pair)
    m = margin(pair.teacher.features)
    linear, norm = method.adapters["bev"]
    mapped = (pair.student.features @ linear.weight.t()).detach()
    ours = (mapped - mapped.mean(dim=0)) / (mapped.var(dim=0, unbiased=False) + norm.eps).sqrt()
    total, skipped = 0.0, 0
    for row in range(len(ours)):
        for c in range(5):
            theirs = float(pair.teacher.features[row, c])
            t, s = (theirs if theirs > 0 else float(m[c])), float(ours[row, c])
            skipped += s <= t <= 0
            total += 0.0 if s <= t <= 0 else (t - s) ** 2
    assert 0 < skipped < ours.numel() / 2
    assert loss.item() == pytest.approx(total / ours.numel(), rel=1e-4)
