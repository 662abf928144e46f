"""Times two callables that do the same work, alternately in one process."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from benchmarks.peak_memory import peak_growth
from benchmarks.thread_counts import UNCHANGED, Threads

Work = Callable[[], Any]


@dataclass
class Side:
    """One side of a row: the call to time, and its threads.

    runs: the largest number of timed runs, without warm-up, for a call that takes seconds; None: as many as requested.
    calls: the number of calls in a run, one after the other; the time of the run is their mean.
    """

    work: Work
    threads: Threads = UNCHANGED
    runs: int | None = None
    calls: int = 1


@dataclass
class Pair:
    """Ours and the peer.

    The peer is a side, a fixed time [ms] (a figure measured elsewhere, or a rate to be kept), or None if it is not
    installed. ``check`` compares the results of both once, untimed, and raises AssertionError if they did different
    work. ``memory``: also measure the peak memory; ours may be at most this share of the peer's.
    """

    ours: Side
    peer: Side | float | None
    check: Callable[[], object] | None = None
    memory: float | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Timing:
    """Medians [ms] of both sides, the ratio peer / ours, and the relative interquartile range of that ratio."""

    ours_ms: float | None = None
    peer_ms: float | None = None
    ratio: float | None = None
    spread: float | None = None
    runs: tuple[int, int] = (0, 0)


@dataclass
class Memory:
    """The memory that one run of each side adds to the process [MB], and the allowed share ours / peer."""

    ours_mb: float
    peer_mb: float
    share: float
    target: float


def measure(pair: Pair, repeats: int, warm_up: int = 2, clock: Callable[[], float] = time.perf_counter) -> Timing:
    """Check, warm up, then run ours, peer, ours, peer ... ``repeats`` times each."""
    if pair.check is not None:
        pair.check()
    sides = [side for side in (pair.ours, pair.peer) if isinstance(side, Side)]
    for side in sides:
        for _ in range(warm_up if side.runs is None else 0):
            _once(side, clock)
    times: list[list[float]] = [[] for _ in sides]
    for turn in range(repeats):
        for side, taken in zip(sides, times, strict=True):
            if side.runs is None or turn < side.runs:
                taken.append(_once(side, clock))
    if pair.peer is None:
        return Timing(median(times[0]), None, None, relative_spread(times[0]), (len(times[0]), 0))
    theirs = times[1] if isinstance(pair.peer, Side) else [pair.peer]
    return compare(times[0], theirs)


def compare(ours: list[float], theirs: list[float]) -> Timing:
    """Medians of both sides, and the spread of the ratio over pairs of neighbouring runs.

    If one side has fewer runs than the other, its median is used in every pair.
    """
    ours_ms, peer_ms = median(ours), median(theirs)
    count = max(len(ours), len(theirs))
    a, b = (x if len(x) == count else [median(x)] * count for x in (ours, theirs))
    ratios = [peer / mine for mine, peer in zip(a, b, strict=True)]
    return Timing(ours_ms, peer_ms, peer_ms / ours_ms, relative_spread(ratios), (len(ours), len(theirs)))


def relative_spread(values: list[float]) -> float:
    """Interquartile range divided by the median; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return (high - low) / middle


def measure_memory(pair: Pair) -> Memory | None:
    """Peak memory of one run of each side, after the timed runs have warmed everything up."""
    if pair.memory is None or not isinstance(pair.peer, Side):
        return None
    ours, peer = (peak_growth(side.work, side.threads.applied) for side in (pair.ours, pair.peer))
    return Memory(ours, peer, ours / peer, pair.memory)


def _once(side: Side, clock: Callable[[], float]) -> float:
    """Milliseconds of a call in one run. Freeing the last result and collecting garbage are not timed."""
    with side.threads.applied():
        gc.collect()
        start = clock()
        for _ in range(side.calls):
            result = side.work()
        taken = clock() - start
        del result
    return 1e3 * taken / side.calls
