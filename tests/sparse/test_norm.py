"""Batch norm where torch's own gives up, a batch of one row; and batch norm with ReLU in compiled code."""

import pytest
import torch
from torch import nn

from mink_pd.sparse.norm import BatchNorm, norm_relu, synchronise


@pytest.mark.parametrize("synchronised", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_a_single_row_is_normalised_as_torchs_operator_does_it(affine: bool, synchronised: bool) -> None:
    torch.manual_seed(0)
    norm, x = BatchNorm(5, affine=affine), torch.randn(1, 5, requires_grad=True)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    if synchronised:
        synchronise(norm)
    y = norm(x)
    # The operator itself does not refuse one row; its Python front does.
    wanted = torch.batch_norm(x, norm.weight, norm.bias, None, None, True, 0.1, norm.eps, False)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-4)  # it multiplies x by 1 / sqrt(eps) before it subtracts
    y.sum().backward()
    assert torch.equal(x.grad, torch.zeros(1, 5))
    if affine:
        assert torch.equal(norm.bias.grad, torch.ones(5))
        assert torch.equal(norm.weight.grad, torch.zeros(5))


def test_a_single_row_says_nothing_of_the_variance() -> None:
    norm = BatchNorm(3)
    norm(torch.randn(10, 3))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm(torch.randn(1, 3))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_more_rows_are_left_to_torch() -> None:
    torch.manual_seed(0)
    ours, theirs, x = BatchNorm(4), nn.BatchNorm1d(4), torch.randn(7, 4)
    assert torch.equal(ours(x), theirs(x))
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))
    ours.eval()
    theirs.eval()
    assert torch.equal(ours(x[:1]), theirs(x[:1]))


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("channels", [[1], [16], [23], [130], [64, 7, 32]])
@pytest.mark.parametrize("rows", [5, 255, 3000, 17000])  # the last is written past the caches where it is wide
def test_norm_and_relu_are_those_of_torch_in_float64(rows: int, channels: list[int], relu: bool) -> None:
    """Result, gradients and running statistics, of rows whose mean is far from zero."""
    torch.manual_seed(0)
    norms, exact = [BatchNorm(c, eps=1e-3, momentum=0.1) for c in channels], []
    for norm in norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        exact.append(nn.BatchNorm1d(norm.num_features, eps=1e-3).double())
        exact[-1].load_state_dict(norm.state_dict())
    parts = [(20 + 3 * torch.randn(rows, c)).requires_grad_() for c in channels]
    doubles = [x.detach().double().requires_grad_() for x in parts]
    flow = torch.randn(rows, sum(channels))
    y = norm_relu(parts, norms, relu)
    wanted = torch.cat([norm(x) for norm, x in zip(exact, doubles, strict=True)], dim=1)
    wanted = wanted.relu() if relu else wanted
    y.backward(flow)
    wanted.backward(flow.double())
    torch.testing.assert_close(y.double(), wanted, rtol=0, atol=3e-5)
    for ours, theirs in zip(parts, doubles, strict=True):
        assert ours.grad is not None
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=0, atol=5e-5)
    for ours, theirs in zip(norms, exact, strict=True):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a.grad.double(), b.grad, rtol=1e-4, atol=1e-4 * max(1, rows) ** 0.5)
        for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
            torch.testing.assert_close(a.double(), b.double(), rtol=1e-6, atol=1e-6)


def test_norm_and_relu_do_not_depend_on_the_threads() -> None:
    torch.manual_seed(0)
    x, flow, before = torch.randn(5000, 40), torch.randn(5000, 40), torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            norm, own = BatchNorm(40), x.clone().requires_grad_()
            y = norm_relu([own], [norm])
            y.backward(flow)
            results.append([y, own.grad, norm.weight.grad, norm.bias.grad, norm.running_var])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_norm_and_relu_let_nan_through_and_leave_other_modes_to_torch() -> None:
    x = torch.randn(9, 4)
    x[2, 1] = torch.nan
    assert norm_relu([x], [BatchNorm(4)])[:, 1].isnan().all()
    assert not norm_relu([x], [BatchNorm(4)])[:, 0].isnan().any()
    norm = BatchNorm(4).eval()
    assert torch.equal(norm_relu([x[3:]], [norm]), nn.functional.relu(norm(x[3:])))
    assert torch.equal(norm_relu([x[:1]], [BatchNorm(4)]), torch.zeros(1, 4))
