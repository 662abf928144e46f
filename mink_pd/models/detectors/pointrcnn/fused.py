"""Shared MLPs at inference in compiled code (``csrc/core/mlp.cpp``): all layers at once, tile by tile."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mink_pd.models.whole import is_whole
from mink_pd.native.operators import operators


@dataclass
class Spread:
    """What is added to the sums of the layer with this number: the rows ``sources`` (n, K) of table (T, C'), times
    ``shares`` (n, K)."""

    table: Tensor
    sources: Tensor
    shares: Tensor
    layer: int


@dataclass
class Affine:
    """x weight^T + shift: weight (C', C), shift (C',)."""

    weight: Tensor
    shift: Tensor

    @classmethod
    def of(cls, weight: Tensor, shift: Tensor | None = None) -> "Affine":
        """``shift`` is 0 where there is none."""
        return cls(weight.detach(), weight.new_zeros(len(weight)) if shift is None else shift.detach())

    def columns(self, first: int, last: int | None = None) -> Tensor:
        """The weights of some inputs."""
        return self.weight[:, first:last]


def compiled_for(x: Tensor, layers: Iterable[nn.Module]) -> Any | None:
    """The compiled operators where they do the work of ``layers`` on rows x: at inference, on the CPU, in float32."""
    if torch.is_grad_enabled() or is_whole() or x.device.type != "cpu" or x.dtype != torch.float32:
        return None
    if torch.is_autocast_enabled("cpu") or any(m.training for part in layers for m in part.modules()):
        return None
    return operators()


def run_rows(compiled: Any, x: Tensor, layers: list[Affine], relu: bool = True, spread: Spread | None = None) -> Tensor:
    """Rows x (n, C) through layers with a ReLU each, the last one only with ``relu``: (n, C')."""
    weights, shifts = [layer.weight for layer in layers], [layer.shift for layer in layers]
    if spread is None:
        return compiled.mlp_rows(x.contiguous(), weights, shifts, relu, None, None, None, 0)
    added = spread.table, spread.sources, spread.shares, spread.layer
    return compiled.mlp_rows(x.contiguous(), weights, shifts, relu, *added)


def project(compiled: Any, x: Tensor, weight: Tensor) -> Tensor:
    """x weight^T"""
    return run_rows(compiled, x, [Affine.of(weight)], relu=False)
