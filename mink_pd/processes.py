"""Processes that work together: which one this is, how many there are, and what they exchange."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mink_pd.errors import MinkPDError

T = TypeVar("T")
_absent = False  # of the whole process: on a GPU the backward pass runs in another thread


def processes() -> int:
    """How many processes work together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def absent() -> Iterator[None]:
    """Inside, this process takes part in all sums over processes and adds nothing to them.

    A process without points of its own must still answer the others: it computes on any batch in here, forward and
    backward, and throws its gradients away.
    """
    global _absent
    _absent = True
    try:
        yield
    finally:
        _absent = False


def sum_over_processes(sums: Tensor) -> Tensor:
    """The sum of a small tensor over all processes, the same bits on each; not differentiable.

    The identity without a process group. Every process must call it equally often and in the same order.
    """
    if processes() == 1:
        return sums
    total = torch.zeros_like(sums) if _absent else sums.detach().clone()
    dist.all_reduce(total)
    return total


def shared_count(count: Tensor | float, least: float = 1) -> Tensor | float:
    """The mean of a count or weight over the processes, at least ``least`` in all of them together; no gradient.

    A sum over this process's rows divided by it is this process's part of the mean over the rows of all processes: the
    mean of these parts is that mean. Without other processes it is the count itself.
    """
    if processes() == 1:
        return count.detach().clamp(min=least) if isinstance(count, Tensor) else max(count, least)
    own = torch.as_tensor(count, dtype=torch.float64)
    return sum_over_processes(own).clamp(min=least) / processes()


def place() -> tuple[int, int]:
    """Rank and number of processes as torchrun tells each that it starts; else 0 of 1."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def gather(own: T) -> list[T]:
    """What each process has, by rank."""
    parts = [own] * processes()
    if len(parts) > 1:
        dist.all_gather_object(parts, own)
    return parts


def stop_together(error: MinkPDError | None, device: torch.device) -> None:
    """Raise in every process if any has an error, so that none waits for one that has stopped.

    All raise the first one's text; only the first process is to tell it (``told`` on the others).
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
    """Whether an operation over processes failed because one of them is gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "closed by peer" in str(error)
