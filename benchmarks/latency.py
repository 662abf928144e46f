"""Latency of detection in the engine over many different frames: percentiles, CPU time and memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from benchmarks.inputs import Inputs
from benchmarks.peak_memory import peak_growth
from benchmarks.rows.detectors import ready
from benchmarks.rows.distillation import student_config
from benchmarks.thread_counts import COUNTS
from mink_pd.detect.engine import Engine
from mink_pd.detect.engine_file import engine_file

COMPRESSIONS = (1.0, 4.0, 16.0)
PERCENTILES = (50, 95, 99)
WARM_UP = 3  # runs of each network on the first frame


@dataclass
class Latency:
    """The latency of one network with a number of threads: wall time and CPU time of each frame [ms], and the memory
    that a new engine, with its weights, and a detection in the frame with the most points add to the process [MB]."""

    compression: float
    threads: int
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    memory: float = 0.0


def latency(inputs: Inputs, frames: int, done: Callable[[], Any] = lambda: None) -> tuple[list[Latency], list[int]]:
    """Detect in every frame with every network and number of threads, in turns; from points to boxes after NMS.

    Returns the latencies and the number of points of each frame. ``done`` is called after each frame.
    """
    first = inputs.frame().points
    files = {factor: _file(inputs, factor) for factor in COMPRESSIONS}
    found = [Latency(factor, threads) for factor in COMPRESSIONS for threads in COUNTS]
    engines = [Engine(files[one.compression], one.threads) for one in found]
    for engine in engines:
        for _ in range(WARM_UP):
            engine.detect(first)
    points, largest = [], first
    for frame in inputs.passing(frames):
        points.append(len(frame.points))
        largest = frame.points if len(frame.points) > len(largest) else largest
        for one, engine in zip(found, engines, strict=True):
            _time(one, engine, frame.points)
        done()
    for one in found:
        one.memory = peak_growth(partial(_detect_anew, files[one.compression], one.threads, largest))
    return found, points


def _file(inputs: Inputs, compression: float) -> bytes:
    return engine_file(ready(student_config(inputs.config, compression), inputs.batch(), inputs.sizes.candidates))


def _detect_anew(content: bytes, threads: int, points: np.ndarray) -> object:
    return Engine(content, threads).detect(points)


def _time(one: Latency, engine: Engine, points: np.ndarray) -> None:
    wall, processor = time.perf_counter(), time.process_time()
    engine.detect(points)
    one.processor.append(1e3 * (time.process_time() - processor))
    one.wall.append(1e3 * (time.perf_counter() - wall))


def table(found: list[Latency], points: list[int], what: str) -> Table:
    """A table with one line per network and number of threads."""
    least, most = min(points), max(points)
    frames = f"{len(points)} different frames of {least} to {most} points"
    title = f"PointPillars in the engine, points to boxes; {frames}, {what}"
    result = Table(title=title, title_justify="left", box=box.MARKDOWN)
    for name in ("size", "threads", "ms 50 %", "95 %", "99 %", "CPU ms 50 %", "95 %", "99 %", "MB"):
        result.add_column(name, justify="right")
    for one in found:
        cells = [f"{value:.1f}" for taken in (one.wall, one.processor) for value in np.percentile(taken, PERCENTILES)]
        result.add_row(f"{one.compression:g}x", str(one.threads), *cells, f"{one.memory:.0f}")
    return result
