"""The cost of a detector: parameters, multiply-adds on a given batch, and time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import nn

from mink_pd.data.loading.batch import Batch
from mink_pd.models.detector import Detector
from mink_pd.models.heads.center_head import SparseOutput
from mink_pd.models.whole import whole_work
from mink_pd.sparse import ConvBlock


@dataclass
class Cost:
    """The cost of a detector."""

    parameters: int
    multiply_adds: int  # per frame
    milliseconds: float  # per frame, from points to boxes; the median of several runs
    engine: bool = False  # whether they are the engine's


def measure(detector: Detector, batches: list[Batch], repeats: int = 3, faster: Detector | None = None) -> Cost:
    """The cost of a detector in eval mode over batches on its device, after a warm-up run of each batch.

    faster: the same detector with the engine in front of it, of which the time is taken; None: of ``detector``.
    """
    detector.eval()
    timed = detector if faster is None else faster.eval()
    frames = sum(len(batch) for batch in batches)
    multiply_adds = sum(count_multiply_adds(detector, batch) for batch in batches) // frames
    times = []
    with torch.inference_mode():
        if timed is not detector:
            for batch in batches:
                timed.detect(timed(batch))
        for batch in batches * repeats:
            start = time.perf_counter()
            timed.detect(timed(batch))
            times.append(1e3 * (time.perf_counter() - start) / len(batch))
    parameters = sum(p.numel() for p in detector.parameters())
    return Cost(parameters, multiply_adds, median(times), engine=timed is not detector)


def count_multiply_adds(detector: Detector, batch: Batch) -> int:
    """Multiply-adds of all linear maps and convolutions, sparse and dense, for a batch.

    A sparse convolution is counted by its kernel map: once for each pair of input and output site that a kernel offset
    connects. A dense convolution is counted at every output cell. Work that a detector leaves out because it does not
    change the result counts (:func:`mink_pd.models.whole.whole_work`).
    """
    # Detection includes a second stage.
    return count_in(detector, lambda: detector.detect(detector(batch)))


def count_in(network: nn.Module, run: Callable[[], object]) -> int:
    """Multiply-adds of all linear maps and convolutions of ``network`` during a call of ``run``, left out or not."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal total
        own = getattr(module, "multiply_adds", None)  # of modules that are not a single linear map of rows
        total += own(*inputs) if own else _multiply_adds(module, inputs[0], output)

    kinds = (nn.Linear, ConvBlock, SparseOutput)
    counted = [m for m in network.modules() if isinstance(m, kinds) or hasattr(m, "multiply_adds")]
    hooks = [module.register_forward_hook(count) for module in counted]
    try:
        with torch.inference_mode(), whole_work():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _multiply_adds(module: nn.Module, x: Any, y: Any) -> int:
    """Multiply-adds of one call of a layer with input x and output y."""
    if isinstance(module, nn.Linear):
        return x.shape[:-1].numel() * module.in_features * module.out_features
    assert isinstance(module, ConvBlock | SparseOutput)
    layer: Any = module.convolution
    return _pairs(layer, x, y) * layer.in_channels * layer.out_channels


def _pairs(layer: Any, x: Any, y: Any) -> int:
    """Number of pairs of input and output sites that the kernel of a sparse layer connects."""
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
