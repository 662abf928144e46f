"""What detectors and their students cost: parameters, multiply-adds and time a frame."""

import argparse
from pathlib import Path

import torch
from rich.table import Table

from mink_pd.cli import console
from mink_pd.config import DataConfig, load_config
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate
from mink_pd.data.points import with_columns
from mink_pd.detect.device import set_threads
from mink_pd.export.frames import proof_frames
from mink_pd.export.timing import runtime_milliseconds
from mink_pd.models import build_detector
from mink_pd.models.cost import Cost, measure
from mink_pd.simulator import simulate_frame


def main(options: argparse.Namespace) -> None:
    """One table a configuration."""
    configs = {path: load_config(path, options.set) for path in options.configs}
    for path, config in configs.items():
        set_threads(config.train)
        frame, what = choose_frame(options.frame, config.data)
        costs, runtimes = {}, {}
        for compression in options.compressions:
            own = config.model_copy(update={"model": config.model.model_copy(update={"compression": compression})})
            torch.manual_seed(config.seed)
            batch = collate([frame], own.data.classes)
            detector = build_detector(own)
            costs[compression] = measure(detector, [batch], options.repeats)
            if options.runtimes:
                runtimes[compression] = runtime_milliseconds(detector, batch, options.repeats)
        heading = f"{path}: {config.model.name} on {what} of {len(frame.points):,} points"
        console.print(heading, soft_wrap=True)
        console.print(table(costs))
        if runtimes:
            console.print(runtime_table(runtimes))
    console.print("Weights are random; ms is the median from points to boxes.", soft_wrap=True)


def choose_frame(path: Path | None, data: DataConfig) -> tuple[Frame, str]:
    """The cloud at ``path``, read as ``data`` says, or a simulated one, and its name for the output."""
    if path is not None:
        return proof_frames([path], data)[0], str(path)
    points = simulate_frame(seed=0, frame=0)[0].points
    return Frame("simulated", with_columns(points, data.point_features)), "a simulated frame"


def table(costs: dict[float, Cost]) -> Table:
    """A row a compression, with ratios to the first row, the teacher."""
    result = Table("compression")
    for heading in ("parameters", "ratio", "multiply-adds", "ratio", "ms", "ratio"):
        result.add_column(heading, justify="right")
    teacher = next(iter(costs.values()))
    for compression, cost in costs.items():
        result.add_row(
            f"{compression:g}x",
            f"{cost.parameters / 1e6:.3f} M", f"{teacher.parameters / cost.parameters:.1f}x",
            f"{cost.multiply_adds / 1e9:.3f} G", f"{teacher.multiply_adds / cost.multiply_adds:.1f}x",
            f"{cost.milliseconds:.0f}", f"{teacher.milliseconds / cost.milliseconds:.1f}x",
        )  # fmt: skip
    return result


def runtime_table(costs: dict[float, dict[str, float]]) -> Table:
    """Milliseconds: a row a runtime, a column a compression."""
    result = Table("ms, points to boxes")
    for compression in costs:
        result.add_column(f"{compression:g}x", justify="right")
    for name in next(iter(costs.values())):
        result.add_row(name, *(f"{cost[name]:.0f}" for cost in costs.values()))
    return result
