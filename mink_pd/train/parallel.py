"""Data-parallel training: all processes have equal gradients and take equal decisions, and one of them writes.

The processes step through the same global batches, each with its share of the frames. The mean of their losses is the
loss of the global batch (``Objective``). Each process backpropagates its part of that mean, and the gradients are
summed over processes, in one collective operation per step. torch's DistributedDataParallel is not used: it fails or
hangs when a process has no point in range or when a parameter is unused.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from mink_pd.config import DataConfig
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.data.points import with_columns
from mink_pd.processes import contributing_nothing, processes, sum_over_processes


def share_state(module: nn.Module) -> None:
    """Copy the weights and running statistics of rank 0 to every process."""
    if processes() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


@torch.no_grad()
def add_gradients(module: nn.Module) -> None:
    """Sum each parameter's gradient over the processes, and average the running statistics.

    The gradient of a parameter that no process has used stays None, as in a single process.
    """
    count = processes()
    if count == 1:
        return
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    statistics = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    used = own[0].new_tensor([float(p.grad is not None) for p in parameters])
    flat = torch.cat([x.reshape(-1) for x in [*own, *statistics]])
    total, used = sum_over_processes(torch.cat([flat, used])).split([len(flat), len(used)])
    pieces = total.split([x.numel() for x in [*own, *statistics]])
    for parameter, gradient, users in zip(parameters, pieces, used.tolist(), strict=False):
        parameter.grad = gradient.view_as(parameter).to(parameter.dtype) if users else None
    for buffer, values in zip(statistics, pieces[len(own) :], strict=True):
        buffer.copy_(values.view_as(buffer) / count)


@contextmanager
def answering_only(module: nn.Module, synchronised: bool) -> Iterator[None]:
    """Context for forward and backward of a process that has no point in range (``contributing_nothing``).

    The process only takes part in the collective operations of the others. On exit its gradients are restored, and so
    are its running statistics unless they are ``synchronised``.
    """
    parameters = list(module.parameters())
    buffers = [] if synchronised else list(module.buffers())
    gradients, statistics = [p.grad for p in parameters], [buffer.clone() for buffer in buffers]
    for parameter in parameters:
        parameter.grad = None
    with contributing_nothing():
        yield
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    for buffer, values in zip(buffers, statistics, strict=True):
        buffer.copy_(values)


def placeholder_batch(config: DataConfig) -> Batch:
    """A batch of one frame: 256 random points within the range, no objects."""
    low, high = config.range[:3], config.range[3:]
    points = np.random.default_rng(0).uniform([*low, 0], [*high, 1], (256, 4))
    return collate([Frame("spare", with_columns(points, config.point_features))], config.classes)
