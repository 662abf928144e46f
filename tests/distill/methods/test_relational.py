"""Relational distillation against loops over pairs and triples."""

import pytest
import torch
from random_taps import RandomTaps, best_rows
from torch import Tensor

from mink_pd.distill.methods.relational import Relational, RelationalConfig


def huber(a: float, b: float) -> float:
    return (a - b) ** 2 / 2 if abs(a - b) <= 1 else abs(a - b) - 0.5


def pairs(x: Tensor) -> list[float]:
    found = [float((x[i] - x[j]).norm()) for i in range(len(x)) for j in range(len(x)) if i != j]
    return [value / (sum(found) / len(found)) for value in found]


def triples(x: Tensor) -> list[float]:
    def direction(i: int, j: int) -> Tensor:
        return (x[i] - x[j]) / (x[i] - x[j]).norm() if i != j else torch.zeros_like(x[i])

    every = range(len(x))
    return [float(direction(i, j) @ direction(k, j)) for i in every for j in every for k in every]


def test_loss_is_the_papers() -> None:
    pair = RandomTaps(30, 0, 20).features(5, 3)
    settings = RelationalConfig(rows=6, importance="channel_max", distance=0.7, angle=1.3)
    loss, _ = Relational("relational", settings, {}).compare(pair)
    wanted = []
    for frame in (0, 2):
        rows = best_rows(pair.teacher.features.amax(dim=1), pair.teacher.frame, frame, 6)
        t, s = pair.teacher.features[rows], pair.student.features[rows]
        terms = []
        for relation in (pairs, triples):
            each = [huber(a, b) for a, b in zip(relation(s), relation(t), strict=True)]
            terms.append(sum(each) / len(each))
        wanted.append(0.7 * terms[0] + 1.3 * terms[1])
    assert loss.item() == pytest.approx(sum(wanted) / 2, rel=1e-4)


def test_equal_rows_have_a_finite_gradient() -> None:
    pair = RandomTaps(30).features(4, 4)
    same = torch.zeros_like(pair.student.features, requires_grad=True)
    pair.student = type(pair.teacher)(pair.teacher.voxels.tensor(same), pair.teacher.voxels)
    loss, _ = Relational("relational", RelationalConfig(), {}).compare(pair)
    loss.backward()
    assert torch.isfinite(same.grad).all()
