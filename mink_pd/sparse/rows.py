"""Some rows of features, with a gradient that costs what these rows cost."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def twice(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (M, C) for what reads all of its rows, and again for :func:`some_rows`."""
    return _Twice.apply(x)


def some_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Rows (n, C) of x (M, C) by number (n,).

    Where x is the second of :func:`twice`, on the CPU its gradient is sparse, and is added to that of the first in
    place. Dense gradients of a few rows would take several passes over memory.
    """
    if x.device.type == "cpu" and x.grad_fn is not None and x.grad_fn.name() == _Twice._backward_cls.__name__:
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
            return of_all.add_(of_some) if of_all.is_contiguous() else of_all + of_some
        one = of_some if of_all is None else of_all
        return one.to_dense() if one is not None and one.is_sparse else one
