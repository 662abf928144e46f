"""Attention transfer against its equation 2."""

import pytest
import torch
from random_taps import RandomTaps

from mink_pd.distill.methods.attention_transfer import AttentionTransfer, AttentionTransferConfig


def test_loss_is_the_papers() -> None:
    pair = RandomTaps(30, 0, 20).features(5, 3)
    loss, _ = AttentionTransfer("attention_transfer", AttentionTransferConfig(), {}).compare(pair)
    frames = []
    for frame in (0, 2):
        here = (pair.teacher.frame == frame).nonzero()[:, 0].tolist()
        maps = []
        for features in (pair.teacher.features, pair.student.features):
            q = [sum(float(x) ** 2 for x in features[row]) for row in here]
            length = sum(x * x for x in q) ** 0.5
            maps.append([x / length for x in q])
        apart = sum((t - s) ** 2 for t, s in zip(*maps, strict=True)) ** 0.5
        frames.append(apart / 2 / len(here))
    assert loss.item() == pytest.approx(sum(frames) / 2, rel=1e-4)


def test_equal_attention_has_no_loss_and_a_finite_gradient() -> None:
    pair = RandomTaps(30).features(4, 4)
    features = pair.teacher.features.clone().requires_grad_()
    pair.student = pair.teacher.__class__(pair.teacher.voxels.tensor(features), pair.teacher.voxels)
    loss, _ = AttentionTransfer("attention_transfer", AttentionTransferConfig(), {}).compare(pair)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(features.grad).all()
