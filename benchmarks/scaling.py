"""How time and memory grow with points, batch and threads, and how close the networks come to the arithmetic limit."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from math import log
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import matplotlib
import torch
from rich import box
from rich.table import Table

from benchmarks.inputs import Inputs, resized
from benchmarks.machine import sgemm
from benchmarks.peak_memory import peak_growth
from benchmarks.rows import encoder
from benchmarks.rows.detectors import detect, ready
from benchmarks.rows.distillation import ALL_ROUND, Step
from benchmarks.thread_counts import CORES, COUNTS, OURS, Threads
from mink_pd.config import Config
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.models import build_detector
from mink_pd.models.cost import count_in, count_multiply_adds
from mink_pd.train.objective import DetectionObjective

POINTS = (5_000, 10_000, 20_000, 50_000, 100_000, 200_000)
BATCHES = (1, 2, 4, 8)
WORKS = {"train": "training step", "detect": "detection"}


@dataclass
class Curve:
    """axis: points, batch or threads; work: train or detect; x, milliseconds ``ms`` and peak memory ``mb`` at each."""

    axis: str
    work: str
    x: list[int] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    mb: list[float] = field(default_factory=list)

    def add(self, x: int, ms: float, mb: float) -> None:
        self.x.append(x)
        self.ms.append(ms)
        self.mb.append(mb)

    def slopes(self) -> list[float | None]:
        """d log time / d log x from the previous point of the curve: 1 is linear growth; a fixed cost gives less."""
        steps = zip(self.x, self.x[1:], self.ms, self.ms[1:], strict=False)
        return [None, *(log(t1 / t0) / log(x1 / x0) for x0, x1, t0, t1 in steps)]


def curves(
    inputs: Inputs,
    repeats: int,
    points: tuple[int, ...] = POINTS,
    batches: tuple[int, ...] = BATCHES,
    done: Callable[[Curve], object] = lambda curve: None,
) -> list[Curve]:
    """All curves of full-size PointPillars; ``done`` is called with a curve after each of its points.

    Points: one full turn, thinned evenly or filled up with jittered copies, in a range that reaches as far behind
    the car as ahead. Batch and threads: frames in the camera's view (two of them for threads).
    """
    around = inputs.config.model_copy(update={"data": inputs.config.data.model_copy(update={"range": ALL_ROUND})})
    turns = {count: _turn(inputs, count) for count in points}
    frames = {count: inputs.batch(count) for count in batches}
    two = inputs.batch(min(2, max(batches)))
    result = []
    for work in WORKS:
        for axis, config, cases in (
            ("points", around, [(count, turns[count], OURS) for count in points]),
            ("batch", inputs.config, [(count, frames[count], OURS) for count in batches]),
            ("threads", inputs.config, [(count, two, replace(OURS, openmp=count)) for count in COUNTS]),
        ):
            curve = Curve(axis, work)
            for x, batch, threads in cases:
                ms, mb = _measure(_work(work, config, batch, inputs.sizes.candidates), threads, repeats)
                curve.add(x, ms, mb)
                done(curve)
            result.append(curve)
    return result


def _turn(inputs: Inputs, count: int) -> Batch:
    frame = replace(inputs.frame(), points=resized(inputs.sweep, count))
    return collate([frame], inputs.config.data.classes)


def _work(kind: str, config: Config, batch: Batch, candidates: int) -> Callable[[], Any]:
    torch.manual_seed(0)
    if kind == "train":
        return partial(Step(DetectionObjective(build_detector(config)).train(), config), batch)
    return partial(detect, ready(config, batch, candidates), batch)


def _measure(work: Callable[[], Any], threads: Threads, repeats: int, warm_up: int = 2) -> tuple[float, float]:
    """Median time [ms] and peak memory [MB]."""
    with threads.applied():
        for _ in range(warm_up):
            work()
        times = []
        for _ in range(repeats):
            start = perf_counter()
            work()
            times.append(1e3 * (perf_counter() - start))
        return median(times), peak_growth(work)


def arithmetic(inputs: Inputs, repeats: int) -> list[dict[str, Any]]:
    """Multiply-adds, counted from the kernel maps, per time, and their share of what this machine's sgemm reaches.

    Backward counts as two forwards. The time includes everything from coordinates (encoder) or points (PointPillars)
    on, not only the products.
    """
    limit = sgemm(CORES)
    scene = encoder.voxels(inputs)
    network = encoder.networks(scene)[0]
    operations = count_in(network.eval(), partial(network, scene.tensor()))
    batch = inputs.batch()
    detector = ready(inputs.config, batch, inputs.sizes.candidates)
    more = count_multiply_adds(detector, batch)
    cases = (
        ("encoder, forward", operations, partial(encoder.forward, network, scene), False),
        ("encoder, forward and backward", 3 * operations, partial(encoder.step, network, scene), True),
        ("PointPillars, detection", more, partial(detect, detector, batch), False),
        ("PointPillars, training step", 3 * more, _work("train", inputs.config, batch, 0), True),
    )
    rows = []
    for name, count, work, training in cases:
        network.train(training)
        ms, _ = _measure(work, OURS, repeats)
        gflops = 2e-6 * count / ms
        rows.append({"name": name, "multiply_adds": count, "ms": ms, "gflops": gflops, "share": gflops / limit})
    return rows


def tables(content: dict[str, Any]) -> list[Table]:
    """The curves and the shares of a JSON that --scaling has written, as Markdown."""
    found = [Curve(entry["axis"], entry["work"], entry["x"], entry["ms"], entry["mb"]) for entry in content["curves"]]
    return [curve_table(found), arithmetic_table(content["arithmetic"])]


def curve_table(found: list[Curve]) -> Table:
    """A table with one line per point of a curve."""
    table = Table(box=box.MARKDOWN)
    for name in ("axis", "work", "x", "ms", "peak MB", "slope"):
        table.add_column(name, justify="left" if name in ("axis", "work") else "right")
    for curve in found:
        for x, ms, mb, slope in zip(curve.x, curve.ms, curve.mb, curve.slopes(), strict=True):
            last = "" if slope is None else f"{slope:.2f}"
            table.add_row(curve.axis, WORKS[curve.work], f"{x:,}", f"{ms:.1f}", f"{mb:.0f}", last)
    return table


def arithmetic_table(rows: list[dict[str, Any]]) -> Table:
    """A table with one line per network."""
    table = Table(box=box.MARKDOWN)
    for name in ("network", "multiply-adds", "ms", "GFLOP/s", "share"):
        table.add_column(name, justify="left" if name == "network" else "right")
    for row in rows:
        figures = (f"{row['ms']:.1f}", f"{row['gflops']:.1f}", f"{100 * row['share']:.0f} %")
        table.add_row(row["name"], f"{row['multiply_adds'] / 1e9:.3f} G", *figures)
    return table


def draw(found: list[Curve], path: Path) -> None:
    """Plot time (above) and memory (below) against points, batch and threads; dashed: linear growth."""
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes = list(dict.fromkeys(curve.axis for curve in found))
    figure, grid = pyplot.subplots(2, len(axes), figsize=(4 * len(axes), 6.5), squeeze=False, layout="constrained")
    for column, axis in enumerate(axes):
        for row, (values, label) in enumerate((("ms", "time [ms]"), ("mb", "peak memory [MB]"))):
            place = grid[row, column]
            for curve in (curve for curve in found if curve.axis == axis):
                y = getattr(curve, values)
                (drawn,) = place.plot(curve.x, y, marker="o", label=WORKS[curve.work])
                if values == "ms":
                    exponent = -1 if axis == "threads" else 1
                    ideal = [y[0] * (x / curve.x[0]) ** exponent for x in curve.x]
                    place.plot(curve.x, ideal, linestyle="--", linewidth=1, color=drawn.get_color(), alpha=0.6)
            place.set(xscale="log", yscale="log", xlabel=f"{axis} (frames)" if axis == "batch" else axis, ylabel=label)
            place.set_xticks(curve.x, [f"{x // 1000}k" if x >= 1000 else str(x) for x in curve.x])
            place.xaxis.set_minor_locator(NullLocator())
            place.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            place.yaxis.set_minor_locator(NullLocator())
            place.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            place.grid(alpha=0.3)
    grid[0, 0].legend(title="dashed: linear", frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
