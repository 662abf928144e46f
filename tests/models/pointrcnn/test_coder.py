"""Box coders: there and back, by hand, and their gradients."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mink_pd.config.pointrcnn import BinConfig
from mink_pd.models.detectors.pointrcnn.coder import BinCoder, BoxCoder, ResidualCoder, half_turn

FIRST, SECOND = BinConfig(search=3.0, headings=12), BinConfig(search=1.5, headings=9)
CODERS: dict[str, BoxCoder] = {
    "bins, first stage": BinCoder(FIRST, full_turn=True),
    "bins, second stage": BinCoder(SECOND, full_turn=False),
    "residual, first stage": ResidualCoder(full_turn=True),
    "residual, second stage": ResidualCoder(full_turn=False),
}
each_coder = pytest.mark.parametrize("coder", CODERS.values(), ids=CODERS.keys())


def boxes_around(count: int, reach: float, turn: float) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, centres within ``reach`` of them along x and y, and sizes to measure by; headings within ``turn``."""
    torch.manual_seed(0)
    sizes = torch.tensor([[3.9, 1.6, 1.56], [0.8, 0.6, 1.73]]).double().repeat(count // 2, 1)
    centres = torch.randn(count, 3).double() * 20
    offset = (2 * torch.rand(count, 3).double() - 1) * reach
    grown = sizes * (0.7 + 0.6 * torch.rand(count, 3).double())
    yaw = (2 * torch.rand(count, 1).double() - 1) * turn
    return torch.cat([centres + offset, grown, yaw], dim=1), centres, sizes


def ideal(coder: BoxCoder, boxes: Tensor, centres: Tensor, sizes: Tensor) -> Tensor:
    """The code that says exactly these boxes."""
    if isinstance(coder, ResidualCoder):
        return coder.encode(boxes, centres, sizes)
    assert isinstance(coder, BinCoder)
    targets = coder.encode(boxes, centres, sizes)
    kinds = (coder.steps, coder.steps, coder.headings)
    chosen = [F.one_hot(b, n).double() for b, n in zip(targets.bins.t(), kinds, strict=True)]
    within = [one * r[:, None] for one, r in zip(chosen, targets.residuals.t(), strict=False)]
    return torch.cat([*(40 * one for one in chosen), *within, targets.residuals[:, 3:]], dim=1)


@each_coder
def test_there_and_back(coder: BoxCoder) -> None:
    full = coder.full_turn  # type: ignore[attr-defined]
    boxes, centres, sizes = boxes_around(200, 2.9 if full else 1.4, math.pi if full else 0.78)
    code = ideal(coder, boxes, centres, sizes)
    assert code.shape == (200, coder.channels)
    back = coder.decode(code, centres, sizes)
    torch.testing.assert_close(back[:, :6], boxes[:, :6])
    turn = torch.remainder(back[:, 6] - boxes[:, 6] + 1, 2 * math.pi) - 1
    torch.testing.assert_close(turn, torch.zeros(200).double(), atol=1e-9, rtol=0)
    assert coder.loss(code, boxes, centres, sizes).max() < 1e-12


@each_coder
def test_gradient_against_finite_differences(coder: BoxCoder) -> None:
    boxes, centres, sizes = boxes_around(6, 1.0, 0.6)
    code = torch.randn(6, coder.channels).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda c: coder.loss(c, boxes, centres, sizes), (code,))


def test_channels_are_the_published_ones() -> None:
    assert [coder.channels for coder in CODERS.values()] == [76, 46, 8, 7]


def test_bins_by_hand() -> None:
    """Search 3 m, bins of 0.5 m, 12 headings of 30 degrees, the first around 0 (equation 2)."""
    box = torch.tensor([[1.3, -0.1, 0.4, 4.0, 1.6, 1.5, math.radians(50)]])
    targets = CODERS["bins, first stage"].encode(box, torch.zeros(1, 3), torch.tensor([[2.0, 1.6, 1.0]]))  # type: ignore[attr-defined]
    assert targets.bins.tolist() == [[8, 5, 2]]
    wanted = [(4.3 - 4.25) / 0.5, (2.9 - 2.75) / 0.5, -10 / 15, 0.4, 1.0, 0.0, 0.5]
    torch.testing.assert_close(targets.residuals, torch.tensor([wanted]))


def test_a_centre_beyond_the_search_falls_into_the_last_bin() -> None:
    coder = CODERS["bins, second stage"]
    box = torch.tensor([[5.0, -5.0, 0, 1, 1, 1, 0]])
    targets = coder.encode(box, torch.zeros(1, 3), torch.ones(1, 3))  # type: ignore[attr-defined]
    assert targets.bins[0, :2].tolist() == [5, 0]
    assert targets.residuals[0, :2].tolist() == [0.5, -0.5]


@pytest.mark.parametrize("beta", [1.0, 0.11])
def test_bin_loss_is_the_papers_sum(beta: float) -> None:
    """Equation 3, term by term, for one box; smooth L1 is linear from an error of ``beta`` on."""
    coder = BinCoder(BinConfig(search=1.5, headings=9, beta=beta), full_turn=False)
    box, zero, size = (
        torch.tensor([[0.3, -0.8, 0.2, 4.0, 1.7, 1.4, 0.1]]),
        torch.zeros(1, 3),
        torch.tensor([[3.9, 1.6, 1.5]]),
    )
    code = torch.randn(1, 46, generator=torch.Generator().manual_seed(0))
    x, y, heading, x_res, y_res, heading_res, z, sizes = coder.split(code)
    targets = coder.encode(box, zero, size)
    bins = targets.bins[0].tolist()
    wanted = sum(-torch.log_softmax(logits[0], dim=0)[b] for logits, b in zip((x, y, heading), bins, strict=True))
    values = torch.stack([r[0, b] for r, b in zip((x_res, y_res, heading_res), bins, strict=True)])
    gap = (torch.cat([values, z[0], sizes[0]]) - targets.residuals[0]).abs()
    wanted = wanted + torch.where(gap < beta, gap**2 / (2 * beta), gap - beta / 2).sum()
    torch.testing.assert_close(coder.loss(code, box, zero, size)[0], wanted)


def test_half_turn() -> None:
    angle = torch.tensor([0.3, 0.3 + math.pi, -0.3 - math.pi, 2.0])
    torch.testing.assert_close(half_turn(angle), torch.tensor([0.3, 0.3, -0.3, 2.0 - math.pi]))
