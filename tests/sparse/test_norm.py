"""Batch norm where torch's own gives up: a batch of one row."""

import pytest
import torch
from torch import nn

from mink_pd.sparse.norm import BatchNorm, synchronise


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
