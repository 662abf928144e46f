"""Loss terms against plain formulas."""

import math

import pytest
import torch

from mink_pd.models.losses import box_loss, focal_loss, velocity_loss


def test_focal_loss_is_the_formula() -> None:
    logits, target = torch.tensor([0.3, -2.0, 1.5]), torch.tensor([1.0, 0.0, 0.0])
    p = [1 / (1 + math.exp(-x)) for x in logits.tolist()]
    wanted = [-0.25 * (1 - p[0]) ** 2 * math.log(p[0]), -0.75 * p[1] ** 2 * math.log(1 - p[1]),
              -0.75 * p[2] ** 2 * math.log(1 - p[2])]  # fmt: skip
    assert focal_loss(logits, target, 0.25, 2.0).tolist() == pytest.approx(wanted, rel=1e-5)


def test_box_loss_does_not_see_half_a_turn() -> None:
    wanted = torch.tensor([[0.1, 0.2, 0.0, 0.0, 0.1, 0.0, 0.4]])
    turned = wanted.clone()
    turned[:, 6] += math.pi
    assert float(box_loss(turned, wanted)) == pytest.approx(0, abs=1e-6)


def test_box_loss_by_hand() -> None:
    ours = torch.tensor([[0.5, 0.0, 0.0, 0.05, 0.0, 0.0, 0.3]])
    theirs = torch.zeros(1, 7)
    beta = 1 / 9
    wanted = (0.5 - beta / 2) + 0.05**2 / (2 * beta) + (math.sin(0.3) - beta / 2)
    assert float(box_loss(ours, theirs)) == pytest.approx(wanted, rel=1e-5)


def test_velocity_loss_by_hand() -> None:
    predicted = torch.tensor([[3.0, 0.05], [1.0, 2.0], [9.0, 0.5]], requires_grad=True)
    wanted = torch.tensor([[1.0, 0.0], [1.0, 2.0], [math.nan, 0.0]])
    beta = 1 / 9
    loss = velocity_loss(predicted, wanted)
    first = (2.0 - beta / 2) + 0.05**2 / (2 * beta)
    assert loss.tolist() == pytest.approx([first, 0.0, 0.5 - beta / 2], rel=1e-5)
    loss.sum().backward()
    assert predicted.grad is not None
    assert predicted.grad.flatten().tolist() == pytest.approx([1, 0.45, 0, 0, 0, 1], rel=1e-5)
