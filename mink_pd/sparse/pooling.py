"""Pooling rows into groups; differentiable, and on the CPU deterministic."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mink_pd.native.operators import operators


def segment_mean(values: Tensor, rows: Tensor, counts: Tensor) -> Tensor:
    """Mean of values (P, C) over each group (M, C); ``rows`` (P,) names the group, ``counts`` (M,) its size."""
    total = torch.zeros((len(counts), values.shape[1]), dtype=values.dtype, device=values.device)
    return total.index_add_(0, rows, values) / counts[:, None].to(values.dtype)


def segment_max(values: Tensor, rows: Tensor, count: int) -> Tensor:
    """Largest of values (P, C) in each of ``count`` groups (count, C); a group without values gets zeros.

    The gradient of a maximum that several rows share is split evenly among them, as torch.amax does.
    """
    return _SegmentMax.apply(values, rows, count)


class _SegmentMax(torch.autograd.Function):
    """scatter_reduce's own backward takes five times as long on the CPU."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, count: int) -> Tensor:
        result = torch.zeros((count, values.shape[1]), dtype=values.dtype, device=values.device)
        result.scatter_reduce_(0, rows[:, None].expand_as(values), values, "amax", include_self=False)
        ctx.save_for_backward(values, rows, result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        values, rows, result = ctx.saved_tensors
        winners = (values == result.index_select(0, rows)).to(values.dtype)  # (P, C)
        shared = torch.zeros_like(result).index_add_(0, rows, winners).clamp_(min=1)  # (M, C)
        return (gradients[0] / shared).index_select(0, rows).mul_(winners), None, None


def segment_linear_max(x: Tensor, weight: Tensor, bias: Tensor, rows: Tensor, counts: Tensor) -> Tensor:
    """Largest of W x + b in each group (M, C), for x (P, F), W (C, F), b (C,); ``rows`` (P,) names the group of each
    row, ``counts`` (M,) its size, at least 1.

    On the CPU the values of all rows never exist: ``csrc/core/pillars.cpp`` keeps the winner of each group and channel,
    the first of equal ones, and the gradients of W and b come from the winners alone. Rows that share a maximum nearly
    always are equal, and then it is the same gradient as :func:`segment_max` gives. x gets a gradient on the plain
    path only, which is taken where it wants one.
    """
    tensors = (x, weight, bias)
    fast = all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors) and not x.requires_grad
    compiled = operators() if fast else None
    if compiled is None:
        return segment_max(F.linear(x, weight, bias), rows, len(counts))
    return _SegmentLinearMax.apply(x, weight, bias, rows, counts, compiled)


class _SegmentLinearMax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, rows: Tensor, counts: Tensor, compiled: Any
    ) -> Tensor:
        values, winners = compiled.linear_max(x, weight, bias, rows, counts)
        ctx.save_for_backward(x, winners)
        ctx.compiled = compiled
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, winners = ctx.saved_tensors
        of_weight, of_bias = ctx.compiled.linear_max_backward(gradients[0], x, winners)
        return None, of_weight, of_bias, None, None, None
