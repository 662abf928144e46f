"""Time and memory of training and distillation steps on a GPU, with our layers and with MinkowskiEngine's."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.stage import DETECTORS, WORK, Outcome, inputs_of, objective_of, run_stage
from benchmarks.rows.distillation import Step
from mink_pd.sparse import ME, ConvBlock

WARM_UP, REPEATS = 3, 15
ENOUGH = 8.0  # seconds of one figure, after which no further repeat begins


class StockBlock(nn.Module):
    """A :class:`ConvBlock` built with MinkowskiEngine's own layers, with the block's parameters."""

    def __init__(self, block: ConvBlock) -> None:
        super().__init__()
        layer: Any = block.convolution
        generator = layer.kernel_generator
        kind = ME.MinkowskiGenerativeConvolutionTranspose if layer.is_transpose else ME.MinkowskiConvolution
        growing = {} if layer.is_transpose else {"expand_coordinates": generator.expand_coordinates}
        self.convolution = kind(
            layer.in_channels, layer.out_channels, generator.kernel_size, generator.kernel_stride,
            dimension=layer.dimension, **growing,
        )  # fmt: skip
        self.convolution.kernel = layer.kernel
        self.norm = ME.MinkowskiBatchNorm(layer.out_channels, eps=block.norm.eps, momentum=block.norm.momentum)
        self.norm.bn = block.norm
        self.relu = ME.MinkowskiReLU() if block.relu else nn.Identity()

    def forward(self, x: Any, sites: Any = None) -> Any:
        return self.relu(self.norm(self.convolution(x, sites)))


def use_stock_layers(network: nn.Module) -> None:
    """Replace every :class:`ConvBlock` by a :class:`StockBlock`."""
    for name, child in network.named_children():
        if isinstance(child, ConvBlock):
            setattr(network, name, StockBlock(child))
        else:
            use_stock_layers(child)


def measure(device: str, tiny: bool) -> Outcome:
    """Measure milliseconds per step and peak memory, for both detectors and both kinds of step."""
    outcome = Outcome()
    for detector in DETECTORS:
        inputs = inputs_of(detector, tiny)
        batch = inputs.batch(inputs.sizes.batch).to(torch.device(device))
        if not outcome.lines:
            what = f"{len(batch)} frames and {len(batch.points)} points a step, which ends with the optimiser"
            outcome.lines += [
                f"Medians of up to {REPEATS} steps, turn by turn; {what}.",
                "",
                "| detector | step | ours [ms] | plain layers [ms] | plain over ours | ours [MB] | plain layers [MB] |",
                "| --- | --- | --- | --- | --- | --- | --- |",
            ]
        for work in WORK:
            steps = []
            for change in (lambda network: None, use_stock_layers):
                objective = objective_of(inputs.config, work, change)
                steps.append(_bind(Step(objective.to(device), inputs.config), batch))
            found = time_steps(steps, device)
            outcome.figures.append({"detector": detector, "step": work, "ms": found[0], "mb": found[1]})
            (ours, plain), memory = found
            megabytes = ["-" if value is None else f"{value:.0f}" for value in memory]
            times = f"{ours:.1f} | {plain:.1f} | {plain / ours:.2f}"
            outcome.lines.append(f"| {detector} | {work} | {times} | {' | '.join(megabytes)} |")
    return outcome


def _bind(step: Step, batch: Any) -> Callable[[], float]:
    return lambda: step(batch)


def time_steps(steps: list[Callable[[], float]], device: str) -> tuple[list[float], list[float | None]]:
    """Median milliseconds of each step, run in turns, and the peak memory of the GPU [MB], None on a CPU."""
    cuda = device == "cuda"
    memory: list[float | None] = []
    for step in steps:
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(WARM_UP):
            step()
        memory.append(torch.cuda.max_memory_allocated() / 2**20 if cuda else None)
    times: list[list[float]] = [[] for _ in steps]
    begin = time.perf_counter()
    while len(times[0]) < REPEATS and (not times[0] or time.perf_counter() - begin < ENOUGH):
        for step, taken in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()  # ends with the loss as a number, which waits for the GPU
            if cuda:
                torch.cuda.synchronize()
            taken.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times], memory


if __name__ == "__main__":
    run_stage("Measure training and distillation steps.", measure)
