"""Training steps per second by number of loader workers: whether reading and augmenting frames slows training down."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from statistics import median

from rich import box
from rich.table import Table

from benchmarks.rows.distillation import Step
from benchmarks.thread_counts import COUNTS, Threads
from mink_pd.config import Config
from mink_pd.data import open_dataset
from mink_pd.data.loading.batch import Batch
from mink_pd.data.loading.epochs import Loader, make_loader
from mink_pd.models import build_detector
from mink_pd.train.objective import DetectionObjective

WORKERS = (0, 1, 2)
STEPS = 15  # in one timed stretch


@dataclass
class Stretches:
    """ms, cpu_ms: wall time and CPU time of this process per step [ms], one entry per timed stretch."""

    threads: int
    workers: int
    ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


def loading(config: Config, repeats: int) -> list[Stretches]:
    """Time steps of the configured detector with every number of workers and threads, in turns.

    Frames come from memory, as after the first epoch of a training whose frames fit into memory.
    """
    step = Step(DetectionObjective(build_detector(config)).train(), config)
    sources = {workers: _batches(config, workers) for workers in WORKERS}
    found = [Stretches(threads, workers) for threads in COUNTS for workers in WORKERS]
    for turn in range(repeats + 1):  # the first to warm up
        for stretch in found:
            with Threads(openmp=stretch.threads).applied():
                wall, cpu = _stretch(step, sources[stretch.workers], ahead=2 * stretch.workers)
            if turn:
                stretch.ms.append(wall)
                stretch.cpu_ms.append(cpu)
    return found


def _batches(config: Config, workers: int) -> Iterator[Batch]:
    """Endless training batches, after one epoch that fills the memory."""
    data = config.data.model_copy(update={"workers": workers})
    dataset = open_dataset(data, data.train_split)
    loader = make_loader(dataset, data, batch_size=config.train.batch_size, training=True, seed=config.seed)
    batches = _endless(loader)
    for _ in islice(batches, len(loader)):
        pass
    return batches


def _endless(loader: Loader) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from loader.epoch(epoch)
        epoch += 1


def _stretch(step: Step, batches: Iterator[Batch], ahead: int) -> tuple[float, float]:
    """Wall and CPU time of a step [ms]. The ``ahead`` batches that were made while others were timed are discarded
    first."""
    for _ in islice(batches, ahead):
        pass
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in islice(batches, STEPS):
        step(batch)
    return 1e3 * (time.perf_counter() - wall) / STEPS, 1e3 * (time.process_time() - cpu) / STEPS


def table(found: list[Stretches], what: str) -> Table:
    """A table with one line per combination. ``against no worker`` is the median of the ratios to no worker, one ratio
    per turn."""
    result = Table(title=what, title_justify="left", box=box.MARKDOWN)
    for name in ("threads", "workers", "ms a step", "of it own processor time", "steps/s", "against no worker"):
        result.add_column(name, justify="right")
    for one in found:
        none = next(other for other in found if other.threads == one.threads and other.workers == 0)
        gain = median(a / b for a, b in zip(none.ms, one.ms, strict=True))
        ms, cpu = median(one.ms), median(one.cpu_ms)
        result.add_row(str(one.threads), str(one.workers), f"{ms:.1f}", f"{cpu:.1f}", f"{1e3 / ms:.1f}", f"{gain:.2f}")
    return result
