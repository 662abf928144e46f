"""Latency of detection over many different frames: percentiles, CPU time and memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from benchmarks.detectors import detect, ready
from benchmarks.distillation import student_config
from benchmarks.inputs import Inputs
from benchmarks.peak_memory import peak_growth
from benchmarks.thread_counts import COUNTS, Threads
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.models import Detector

COMPRESSIONS = (1.0, 4.0, 16.0)
PERCENTILES = (50, 95, 99)
WARM_UP = 3  # runs of each network on the first frame


@dataclass
class Latency:
    """The latency of one network with a number of threads: wall time and CPU time of each frame [ms], and the memory
    that a detection in the frame with the most points adds to the process [MB]."""

    compression: float
    threads: int
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    memory: float = 0.0


def latency(inputs: Inputs, frames: int, done: Callable[[], Any] = lambda: None) -> tuple[list[Latency], list[int]]:
    """Detect in every frame with every network and number of threads, in turns; from points to boxes after NMS.

    Returns the latencies and the number of points of each frame. ``done`` is called after each frame.
    """
    first = inputs.batch()
    networks = {
        factor: ready(student_config(inputs.config, factor), first, inputs.sizes.candidates) for factor in COMPRESSIONS
    }
    found = [Latency(factor, threads) for factor in COMPRESSIONS for threads in COUNTS]
    for one in found:
        for _ in range(WARM_UP):
            _time(one, networks[one.compression], first)
        one.wall.clear()
        one.processor.clear()
    points, largest = [], first
    for frame in inputs.passing(frames):
        batch = collate([frame], inputs.config.data.classes)
        points.append(len(batch.points))
        largest = batch if len(batch.points) > len(largest.points) else largest
        for one in found:
            _time(one, networks[one.compression], batch)
        done()
    for one in found:
        one.memory = peak_growth(
            partial(detect, networks[one.compression], largest), Threads(openmp=one.threads).applied
        )
    return found, points


def _time(one: Latency, network: Detector, batch: Batch) -> None:
    with Threads(openmp=one.threads, openblas=1).applied():
        wall, processor = time.perf_counter(), time.process_time()
        detect(network, batch)
        one.processor.append(1e3 * (time.process_time() - processor))
        one.wall.append(1e3 * (time.perf_counter() - wall))


def table(found: list[Latency], points: list[int], what: str) -> Table:
    """A table with one line per network and number of threads."""
    least, most = min(points), max(points)
    title = f"PointPillars, points to boxes; {len(points)} different frames of {least} to {most} points, {what}"
    result = Table(title=title, title_justify="left", box=box.MARKDOWN)
    for name in ("size", "threads", "ms 50 %", "95 %", "99 %", "CPU ms 50 %", "95 %", "99 %", "MB"):
        result.add_column(name, justify="right")
    for one in found:
        cells = [f"{value:.1f}" for taken in (one.wall, one.processor) for value in np.percentile(taken, PERCENTILES)]
        result.add_row(f"{one.compression:g}x", str(one.threads), *cells, f"{one.memory:.0f}")
    return result
