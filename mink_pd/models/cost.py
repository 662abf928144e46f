"""What a detector costs: parameters, multiply-adds on a given batch, milliseconds."""

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import nn

from mink_pd.data.batch import Batch
from mink_pd.models.detector import Detector
from mink_pd.sparse import ConvBlock


@dataclass
class Cost:
    """parameters; multiply_adds and milliseconds a frame (points to boxes, the median of several runs)."""

    parameters: int
    multiply_adds: int
    milliseconds: float


def measure(detector: Detector, batches: list[Batch], repeats: int = 3) -> Cost:
    """Cost of a detector in eval mode, over batches that are on its device; one warm-up run of each comes first."""
    detector.eval()
    frames = sum(len(batch) for batch in batches)
    multiply_adds = sum(count_multiply_adds(detector, batch) for batch in batches) // frames
    times = []
    with torch.inference_mode():
        for batch in batches * repeats:
            start = time.perf_counter()
            detector.detect(detector(batch))
            times.append(1e3 * (time.perf_counter() - start) / len(batch))
    return Cost(sum(p.numel() for p in detector.parameters()), multiply_adds, median(times))


def count_multiply_adds(detector: Detector, batch: Batch) -> int:
    """Multiply-adds of all linear maps and sparse convolutions for a batch.

    Counted from the kernel maps: a sparse convolution multiplies once for each pair of input and output site that a
    kernel offset joins, not once for each cell of a dense grid.
    """
    total = 0

    def linear(module: nn.Linear, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        own = getattr(module, "multiply_adds", None)  # of layers that take more than rows
        rows = inputs[0].shape[:-1].numel()
        total += own(*inputs) if own else rows * module.in_features * module.out_features

    def sparse(module: ConvBlock, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        layer: Any = module.convolution
        pairs = _pairs(layer, inputs[0], output)
        total += pairs * layer.in_channels * layer.out_channels

    hooks = [m.register_forward_hook(linear) for m in detector.modules() if isinstance(m, nn.Linear)]
    hooks += [m.register_forward_hook(sparse) for m in detector.modules() if isinstance(m, ConvBlock)]
    try:
        with torch.inference_mode():
            detector.detect(detector(batch))  # a second stage belongs to detection
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _pairs(layer: Any, x: Any, y: Any) -> int:
    """Pairs of input and output sites that the kernel of a sparse layer joins."""
    generator = layer.kernel_generator
    maps = x.coordinate_manager.kernel_map(
        x.coordinate_map_key,
        y.coordinate_map_key,
        stride=generator.kernel_stride,
        kernel_size=generator.kernel_size,
        dilation=generator.kernel_dilation,
        region_type=generator.region_type,
        is_transpose=layer.is_transpose,
    )
    return sum(pairs.shape[1] for pairs in maps.values())
