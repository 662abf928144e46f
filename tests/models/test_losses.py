"""Loss terms against plain formulas."""

import math

import pytest
import torch

from mink_pd.models.heads.losses import box_loss, focal_loss, velocity_loss, weighted_focal_loss


def test_focal_loss_is_the_formula() -> None:
    logits, target = torch.tensor([0.3, -2.0, 1.5]), torch.tensor([1.0, 0.0, 0.0])
    p = [1 / (1 + math.exp(-x)) for x in logits.tolist()]
    wanted = [-0.25 * (1 - p[0]) ** 2 * math.log(p[0]), -0.75 * p[1] ** 2 * math.log(1 - p[1]),
              -0.75 * p[2] ** 2 * math.log(1 - p[2])]  # fmt: skip
    assert focal_loss(logits, target, 0.25, 2.0).tolist() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("gamma", [2.0, 1.5, 0.0])
@pytest.mark.parametrize("spread", [0.1, 3.0, 40.0])
def test_weighted_focal_loss_and_its_gradient_are_those_of_torch_in_float64(gamma: float, spread: float) -> None:
    torch.manual_seed(0)
    outputs = (spread * torch.randn(333, 20)).requires_grad_()  # the logits are a part of wider rows
    labels, share = torch.randint(-2, 3, (333, 6)), torch.rand(333)
    loss = weighted_focal_loss(outputs[:, 1:19].view(333, 6, 3), labels, share, 0.25, gamma)
    (3 * loss).backward()
    assert outputs.grad is not None
    exact = outputs.detach().double().requires_grad_()
    target = torch.nn.functional.one_hot(labels.clamp(min=-1) + 1, 4)[..., 1:].double()
    each = focal_loss(exact[:, 1:19].view(333, 6, 3), target, 0.25, gamma).sum(dim=2)
    wanted = (each[labels != -2] * share[:, None].expand(333, 6)[labels != -2]).sum()
    (3 * wanted).backward()
    assert float(loss.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)
    torch.testing.assert_close(outputs.grad.double(), exact.grad, rtol=2e-6, atol=1e-9)


def test_focal_loss_of_a_logit_that_is_no_number_is_none() -> None:
    logits = torch.zeros(5, 2, 3)
    logits[3, 1, 2] = math.nan
    loss = weighted_focal_loss(logits, torch.full((5, 2), -1), torch.ones(5), 0.25, 2.0)
    assert math.isnan(float(loss))
    nothing = weighted_focal_loss(logits[:0], torch.zeros(0, 2).long(), torch.zeros(0), 0.25, 2.0)
    assert float(nothing) == 0


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
