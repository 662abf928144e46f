"""The process group: rank, number of processes, and what the processes exchange."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mink_pd.errors import MinkPDError

T = TypeVar("T")
_contributes_nothing = False  # a global, not thread-local: on a GPU the backward pass runs in another thread


def processes() -> int:
    """Number of processes in the group; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def contributing_nothing() -> Iterator[None]:
    """Inside the context, this process takes part in all sums over processes but contributes zeros.

    A process whose batch has no points must still take part in the collective operations of the others. It runs
    forward and backward on a placeholder batch inside this context and discards its gradients.
    """
    global _contributes_nothing
    _contributes_nothing = True
    try:
        yield
    finally:
        _contributes_nothing = False


def sum_over_processes(sums: Tensor) -> Tensor:
    """The sum of a small tensor over all processes, bitwise equal on each; not differentiable.

    Without a process group it is the identity. All processes must make the same calls in the same order.
    """
    if processes() == 1:
        return sums
    total = torch.zeros_like(sums) if _contributes_nothing else sums.detach().clone()
    dist.all_reduce(total)
    return total


def shared_count(count: Tensor | float, least: float = 1) -> Tensor | float:
    """The mean of a count or weight over the processes, without gradient; the total is at least ``least``.

    Each process divides the sum over its own rows by this number. The mean of the quotients over the processes is then
    the mean over the rows of all processes. Without other processes the result is the count itself.
    """
    if processes() == 1:
        return count.detach().clamp(min=least) if isinstance(count, Tensor) else max(count, least)
    own = torch.as_tensor(count, dtype=torch.float64)
    return sum_over_processes(own).clamp(min=least) / processes()


def rank_and_world() -> tuple[int, int]:
    """Rank and number of processes, from the environment that torchrun sets; (0, 1) without torchrun."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def gather(own: T) -> list[T]:
    """The objects of all processes, in order of rank."""
    parts = [own] * processes()
    if len(parts) > 1:
        dist.all_gather_object(parts, own)
    return parts


def stop_together(error: MinkPDError | None, device: torch.device) -> None:
    """Raise in every process if any process has an error, so that no process waits for one that has stopped.

    All raise the text of the lowest rank that has an error. Only rank 0 reports it: ``told`` is set on the others.
    """
    if processes() == 1:
        if error is not None:
            raise error
        return
    if not sum_over_processes(torch.tensor(float(error is not None), device=device)):
        return
    text = next(text for text in gather(None if error is None else str(error)) if text is not None)
    together = MinkPDError(text) if error is None else error.__class__(text)
    together.told = dist.get_rank() > 0
    raise together


def is_lost_process(error: RuntimeError) -> bool:
    """Whether a collective operation failed because another process has ended."""
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "closed by peer" in str(error)
