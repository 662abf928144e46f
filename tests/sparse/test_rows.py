"""Rows with sparse gradients beside plain indexing."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mink_pd.sparse import linear_and_rows, some_rows, twice

ROWS = torch.tensor([4, 0, 4, 9])  # one of them twice


def values_and_gradient(x: Tensor, parts: list[Tensor]) -> list[Tensor]:
    sum((part * part.detach().cos()).sum() for part in parts).backward()
    assert x.grad is not None
    assert not x.grad.is_sparse
    return [*(part.detach() for part in parts), x.grad]


@pytest.mark.parametrize("read", ["all", "some", "all, some", "some, some", "all, some, both", "both", "all, both"])
def test_values_and_gradients_are_those_of_indexing(read: str) -> None:
    results = []
    for ours in (True, False):
        x = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
        for_all, for_some = twice(x * 2) if ours else [x * 2] * 2
        pick = some_rows if ours else lambda values, rows: values[rows]
        parts = {"all": lambda: for_all @ torch.ones(5, 3), "some": lambda: pick(for_some, ROWS),  # noqa: B023
                 "both": lambda: for_some.square()}  # fmt: skip  # noqa: B023
        results.append(values_and_gradient(x, [parts[name]() for name in read.split(", ")]))
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted)


def test_the_gradient_of_some_rows_is_sparse_only_where_it_can_be_added() -> None:
    x = torch.randn(12, 5, requires_grad=True)
    seen: list[bool] = []
    for values in (twice(x)[1], x * 1):
        values.register_hook(lambda gradient: seen.append(gradient.is_sparse))
        some_rows(values, ROWS).sum().backward()
    assert seen == [True, False]


@pytest.mark.parametrize("read", ["product", "some", "product, some", "product, some, both", "product, both"])
def test_a_linear_map_and_rows_have_the_gradients_of_torch(read: str) -> None:
    results = []
    for ours in (True, False):
        made = torch.Generator().manual_seed(0)
        x, weight, bias = (torch.randn(size, generator=made).requires_grad_() for size in ((12, 5), (3, 5), (3,)))
        product, shown = linear_and_rows(x, weight, bias) if ours else (functional.linear(x, weight, bias), x)
        rows = some_rows(shown, ROWS) if ours else shown[ROWS]
        parts = {"product": product, "some": rows, "both": shown.square()}
        values = values_and_gradient(x, [parts[name] for name in read.split(", ")])
        results.append([*values, *(g for g in (weight.grad, bias.grad) if g is not None)])
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted)


def test_a_gradient_that_is_one_number_is_not_written_to() -> None:
    x = torch.randn(12, 5, requires_grad=True)
    for_all, for_some = twice(x)
    (for_all.sum() + some_rows(for_some, ROWS).sum()).backward()
    wanted = torch.ones(12, 5).index_add(0, ROWS, torch.ones(4, 5))
    assert x.grad is not None
    assert torch.equal(x.grad, wanted)


def test_a_gradient_that_another_function_was_given_too_is_not_written_to() -> None:
    """The gradient of a sum is the same tensor for both of its terms."""
    x, y = torch.randn(2, 12, 5).unbind()
    other = y.requires_grad_().exp()
    for_all, for_some = twice(x.requires_grad_())
    ((for_all + other) @ torch.ones(5, 3) + some_rows(for_some, ROWS).sum()).sum().backward()
    torch.testing.assert_close(y.grad, 3 * y.exp())
