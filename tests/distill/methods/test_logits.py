"""Soft targets against torch's own divergence of Bernoulli distributions."""

import pytest
import torch
from random_taps import RandomTaps
from torch.distributions import Bernoulli, kl_divergence

from mink_pd.distill.methods.logits import Logits, LogitsConfig
from mink_pd.errors import DistillError


def test_loss_is_the_papers() -> None:
    taps = RandomTaps(30, 20)
    pair = taps.head("scores")
    loss, _ = Logits("logits", LogitsConfig(temperature=3.0), {"scores": (18, 18)}).compare(pair)
    p, q = (Bernoulli(logits=tap.features.double() / 3) for tap in (pair.teacher, pair.student))
    expected = sum(max(torch.sigmoid(row).tolist()) for row in taps.guide["scores"].features)
    assert loss.item() == pytest.approx(9 * float(kl_divergence(p, q).sum()) / expected, rel=1e-4)


def test_certain_scores_stay_finite() -> None:
    pair = RandomTaps(30).head("scores")
    far = (1000 * torch.randn_like(pair.student.features)).requires_grad_()
    pair.student = type(pair.teacher)(pair.teacher.voxels.tensor(far), pair.teacher.voxels)
    loss, _ = Logits("logits", LogitsConfig(), {"scores": (18, 18)}).compare(pair)
    loss.backward()
    assert torch.isfinite(far.grad).all()


def test_other_classes_are_refused() -> None:
    with pytest.raises(DistillError, match=r"distill\.logits\.taps.*18.*12.*same classes"):
        Logits("logits", LogitsConfig(), {"scores": (18, 12)})
