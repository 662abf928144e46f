"""Some rows of features, with a gradient that costs what these rows cost.

A dense gradient of a few rows takes several passes over memory. A sparse one takes none, but only a function that
expects it can add it to the gradient of all rows: :func:`twice` and :func:`linear_and_rows` give such features.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def twice(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (M, C) for what reads all of its rows, and again for :func:`some_rows`."""
    return _Twice.apply(x)


def linear_and_rows(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The linear map (M, C') of x (M, C) by weight (C', C) and bias (C',), and x again for :func:`some_rows`."""
    return _LinearAndRows.apply(x, weight, bias)


def some_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Rows (n, C) of x (M, C) by number (n,); on the CPU their gradient is sparse where x was given for this."""
    given = x.device.type == "cpu" and x.output_nr == 1
    if given and type(x.grad_fn) in (_Twice._backward_cls, _LinearAndRows._backward_cls):
        return functional.embedding(rows, x, sparse=True)
    return x[rows]


class _Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        return x.view_as(x), x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_all: Tensor | None, of_some: Tensor | None) -> Tensor | None:
        if of_all is not None and of_some is not None:
            return of_all + of_some  # not in place: another function may have been given the same gradient
        return _dense(of_some if of_all is None else of_all)


class _LinearAndRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight)
        return functional.linear(x, weight, bias), x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_product: Tensor | None, of_some: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if of_product is None:
            return _dense(of_some), None, None
        x, weight = ctx.saved_tensors
        of_x = of_product @ weight  # (M, C), of this function alone: it can be changed in place
        return of_x if of_some is None else of_x.add_(of_some), of_product.t() @ x, of_product.sum(dim=0)


def _dense(gradient: Tensor | None) -> Tensor | None:
    return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient
