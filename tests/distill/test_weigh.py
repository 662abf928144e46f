"""The gradient share of a method, against backward passes."""

import pytest
import torch
from random_taps import random_batch
from tiny_pillars import tiny_config, tiny_networks

from mink_pd.distill import Distiller
from mink_pd.distill.weigh import gradient_share

BATCHES = [(200, 100), (150, 0, 250)]


def build(**settings: object) -> Distiller:
    config = tiny_config(methods=["fitnets", "similarity"], **settings)
    teacher, student = tiny_networks(config)
    return Distiller(student, teacher, config).train()


def gradients(distiller: Distiller, batch: object, own: bool) -> torch.Tensor:
    distiller.zero_grad()
    losses, _ = distiller(batch)
    chosen = [x for key, x in losses.items() if key.startswith(("fitnets_", "similarity_")) == own]
    torch.stack(chosen).sum().backward()
    return torch.cat([p.grad.flatten() for p in distiller.detector.parameters() if p.grad is not None])


def test_share_is_the_ratio_of_norms_on_the_student() -> None:
    batches = [random_batch(*sizes) for sizes in BATCHES]
    share, loss = gradient_share(build(), batches)
    distiller = build()
    ratios, sums = [], []
    for batch in batches:
        ratios.append(float(gradients(distiller, batch, True).norm() / gradients(distiller, batch, False).norm()))
        losses, _ = build()(batch)
        sums.append(sum(float(x.detach()) for key, x in losses.items() if key.startswith(("fitnets_", "similarity_"))))
    assert share == pytest.approx(sum(ratios) / 2, rel=1e-3)
    assert loss == pytest.approx(sum(sums) / 2, rel=1e-3)
    assert share > 0


def test_nothing_is_trained_and_weights_count_in_proportion() -> None:
    distiller, batch = build(), random_batch(200, 100)
    before = [p.clone() for p in distiller.parameters()]
    once, _ = gradient_share(distiller, [batch])
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, distiller.parameters(), strict=True))
    for method in distiller.methods.values():
        method.settings.weight *= 3
    thrice, _ = gradient_share(distiller, [batch])
    assert thrice == pytest.approx(3 * once, rel=1e-3)


def test_batches_without_points_do_not_count() -> None:
    wanted = gradient_share(build(), [random_batch(200, 100)])
    assert gradient_share(build(), [random_batch(0), random_batch(200, 100)]) == pytest.approx(wanted, rel=1e-3)
    assert gradient_share(build(), [random_batch(0)]) == (0, 0)
