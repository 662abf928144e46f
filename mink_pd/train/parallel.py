"""Several processes that train as one: equal gradients, equal decisions, one writer.

The processes step through the same global batches, each with its share of the frames; the mean of their losses is that
of the global batch (``Objective``), and each passes back its part of the mean, so that gradients are added up. That
is done here, in one sum a step, and not by torch's DistributedDataParallel, which stops or waits for ever where a
process has no point in range or a parameter goes unused.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from mink_pd.config import DataConfig
from mink_pd.data.batch import Batch, collate
from mink_pd.data.frame import Frame
from mink_pd.data.points import with_columns
from mink_pd.processes import absent, processes, sum_over_processes


def share_state(module: nn.Module) -> None:
    """Give every process the first one's weights and statistics."""
    if processes() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


@torch.no_grad()
def add_gradients(module: nn.Module) -> None:
    """Each parameter's gradient is the sum over processes; running statistics are their mean.

    A parameter that no process has used keeps no gradient, as in a single process.
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
def standing_by(module: nn.Module, synchronised: bool) -> Iterator[None]:
    """Around forward and backward of a process that has no point in range: it answers the others (``absent``).

    What it computes on is thrown away: gradients are as before afterwards, and so are the running statistics unless
    they are ``synchronised``.
    """
    parameters = list(module.parameters())
    buffers = [] if synchronised else list(module.buffers())
    gradients, statistics = [p.grad for p in parameters], [buffer.clone() for buffer in buffers]
    for parameter in parameters:
        parameter.grad = None
    with absent():
        yield
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    for buffer, values in zip(buffers, statistics, strict=True):
        buffer.copy_(values)


def spare_batch(config: DataConfig) -> Batch:
    """One frame of a few hundred points spread over the range, without objects."""
    low, high = config.range[:3], config.range[3:]
    points = np.random.default_rng(0).uniform([*low, 0], [*high, 1], (256, 4))
    return collate([Frame("spare", with_columns(points, config.point_features))], config.classes)
