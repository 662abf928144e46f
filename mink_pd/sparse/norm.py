"""Batch norm whose statistics may be those of all processes, and its fast form with a ReLU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mink_pd.errors import ConfigError
from mink_pd.native.operators import operators
from mink_pd.processes import processes, sum_over_processes


class BatchNorm(nn.BatchNorm1d):
    """Drop-in for ``nn.BatchNorm1d`` on rows (M, C).

    With ``synchronised`` the statistics in training are those of the rows of all processes (as torch's SyncBatchNorm,
    which does not run on the CPU), each row counting the same; a process may have no row.

    A single row equals its mean, so in training its result is the bias. It does not change the running statistics,
    because it has no variance. torch raises ValueError in this case, which would end a training at a nearly empty
    frame.
    """

    synchronised = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or (len(x) != 1 and not (self.synchronised and processes() > 1)):
            return super().forward(x)
        y, mean, variance, rows = _Synchronised.apply(x, self.weight, self.bias, self.eps, self.synchronised)
        self.track(mean, variance, rows)
        return y

    @torch.no_grad()
    def track(self, mean: Tensor, variance: Tensor, rows: Tensor) -> None:
        """Move the running statistics, if any, by mean (C,) and biased variance (C,) of ``rows`` () rows; as in torch
        they take the unbiased variance, which fewer than two rows do not have."""
        if not self.track_running_stats or rows < 2:
            return
        variance = variance * (rows / (rows - 1))
        tracked: Any = self  # torch's buffers may be None, but not where they are tracked
        tracked.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / float(tracked.num_batches_tracked)
        tracked.running_mean.lerp_(mean.to(tracked.running_mean.dtype), share)
        tracked.running_var.lerp_(variance.to(tracked.running_var.dtype), share)


def norm_relu(parts: list[Tensor], norms: list[BatchNorm], relu: bool = True) -> Tensor:
    """Batch norm and, with ``relu``, ReLU of each of the parts (M, C_i), beside one another: (M, sum of the C_i).

    In training on the CPU in float32, compiled code (``csrc/core/norm.cpp``) does both in one pass each way and writes
    every part where it belongs. Results differ from torch's in their last bits, because sums have another order.
    """
    if all(_is_fast(x, norm) for x, norm in zip(parts, norms, strict=True)) and (compiled := operators()):
        weights = (parameter for norm in norms for parameter in (norm.weight, norm.bias))
        return _NormRelu.apply(norms, relu, compiled, *parts, *weights)
    normal = [norm(x) for x, norm in zip(parts, norms, strict=True)]
    if relu:
        normal = [x.relu_() for x in normal]
    return normal[0] if len(normal) == 1 else torch.cat(normal, dim=1)


def _is_fast(x: Tensor, norm: BatchNorm) -> bool:
    return (
        norm.training
        and len(x) > 1
        and not (norm.synchronised and processes() > 1)
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in (x, norm.weight))
    )


class _NormRelu(torch.autograd.Function):
    """Arguments: norms, relu, operators; parts (M, C_i); weight and bias (C_i,) of each norm."""

    @staticmethod
    def forward(ctx: Any, norms: list[Any], relu: bool, compiled: Any, *tensors: Tensor) -> Tensor:
        parts = [x.contiguous() for x in tensors[: len(norms)]]
        y = parts[0].new_empty(len(parts[0]), sum(x.shape[1] for x in parts))
        statistics = []
        for x, norm, into in zip(parts, norms, y.split([x.shape[1] for x in parts], dim=1), strict=True):
            running = norm.running_mean, norm.running_var, norm.momentum
            statistics.append(compiled.norm_relu(x, norm.weight, norm.bias, *running, norm.eps, relu, into))
            norm.num_batches_tracked.add_(1)
        ctx.save_for_backward(*parts, *statistics)
        ctx.relu, ctx.compiled = relu, compiled
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        count = len(ctx.saved_tensors) // 2
        parts, statistics = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        of_parts, of_weights = [], []
        flows = gradients[0].contiguous().split([x.shape[1] for x in parts], dim=1)
        for flow, x, own in zip(flows, parts, statistics, strict=True):
            of_x, *of_norm = ctx.compiled.norm_relu_backward(flow, x, own, ctx.relu)
            of_parts.append(of_x)
            of_weights += of_norm
        return None, None, None, *of_parts, *of_weights


def synchronise(module: nn.Module) -> None:
    """Switch on the synchronised statistics of every part of ``module`` that has them.

    Raises ConfigError for a batch norm that cannot: its statistics would silently stay those of one process.
    """
    covered = set()
    for part in module.modules():
        if hasattr(part, "synchronised"):
            part.synchronised = True  # type: ignore[assignment]
            covered |= set(part.modules())
    for name, part in module.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part not in covered:
            raise ConfigError(f"train.sync_norm: {name} is a {type(part).__name__}; it must be a mink_pd BatchNorm")


class _Synchronised(torch.autograd.Function):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias over the rows of all processes (``together``) or this one.

    Gradients of weight and bias are those of this process's rows: the processes add their gradients up later. Those
    of x need the sums of dy and dy * normalised x over all rows (Ioffe and Szegedy 2015, section 3).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, together: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x (M, C) -> y (M, C), mean (C,), biased variance (C,), number of rows ()"""
        own = x.to(torch.promote_types(x.dtype, torch.float32))
        mean, variance, rows = _statistics(own, together)
        inverse = torch.rsqrt(variance + eps).to(own.dtype)  # (C,)
        normal = (own - mean.to(own.dtype)) * inverse  # (M, C)
        ctx.save_for_backward(normal, inverse, weight, rows)
        ctx.together = together
        y = normal if weight is None or bias is None else torch.addcmul(bias, normal, weight)
        ctx.mark_non_differentiable(mean, variance, rows)
        return y.to(x.dtype), mean, variance, rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        normal, inverse, weight, rows = ctx.saved_tensors
        dy = gradients[0].to(normal.dtype)  # (M, C)
        sums = torch.stack([dy.sum(dim=0), (dy * normal).sum(dim=0)])  # (2, C)
        of_bias, of_weight = (None, None) if weight is None else (sums[0], sums[1])
        of_x = None
        if ctx.needs_input_grad[0]:
            means = (sum_over_processes(sums) if ctx.together else sums) / rows.to(sums.dtype).clamp(min=1)
            scale = inverse if weight is None else inverse * weight
            of_x = ((dy - means[0] - normal * means[1]) * scale).to(gradients[0].dtype)
        return of_x, of_weight, of_bias, None, None


def _statistics(x: Tensor, together: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), biased variance (C,) and number () of the rows (M, C) of all processes or this one, float64.

    Each process's sum of squares is taken about its own mean, so that little is lost in float32.
    """
    count = torch.full((1,), len(x), dtype=torch.float64, device=x.device)
    squares, mean = torch.var_mean(x, dim=0, correction=0) if len(x) else (x.sum(dim=0), x.sum(dim=0))
    squares, mean = squares.double(), mean.double()
    own = torch.cat([count, count * mean, count * (squares + mean.square())])
    total = sum_over_processes(own) if together else own
    rows, channels = total[0], x.shape[1]
    mean, squares = total[1:].view(2, channels) / rows.clamp(min=1)
    return mean, (squares - mean.square()).clamp(min=0), rows
