"""What the engine computes behind the encoder, in NumPy: plain, to find ranges and to compare with.

Layers are in float32 or in 8 bits. The sums of the latter are exact, in float64, and what follows is rounded as the
engine does it (``native/csrc/core/int8.h``), so that both find the same integers from the same input.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Any

import numpy as np

ENCODER = "encoder"  # the name of the network's input

Array = np.ndarray
Pair = tuple[Array, Array]  # rows of the source and of the target, of one offset of a kernel


@dataclass(frozen=True)
class Layer:
    """A convolution: what it reads, and where.

    reads: the layers whose results it reads, side by side; stage: from 0, of a layer of the backbone or of the neck,
    else None; first: whether it leads from the stage before; kernel: cells along an axis.
    """

    name: str
    reads: tuple[str, ...]
    kernel: int
    relu: bool
    stage: int | None = None
    first: bool = False


@dataclass(frozen=True)
class Int8Layer:
    """weight: int8 (K, in, out); bias: int32 (out,); scale: float32 (out,), the value of a sum of 1."""

    weight: Array
    bias: Array
    scale: Array


class Network:
    """The layers of an engine's file. Results are float32 (rows, channels), by the name of the layer."""

    def __init__(self, tensors: Mapping[str, Array], description: Mapping[str, Any]) -> None:
        """tensors, description: of :func:`mink_pd.detect.engine_file.engine_parts`."""
        bev = description["bev"]
        self.strides: list[int] = list(accumulate(bev["strides"], mul))
        self.goal = self.strides[bev["neck_stage"] - 1]  # stride of the neck
        self.layers = list(_layers(bev, description["head"]))
        self.weights: dict[str, Array] = {}
        for layer in self.layers:
            weight = tensors[f"{layer.name}.weight"]
            self.weights[layer.name] = weight.reshape(layer.kernel**2, *weight.shape[-2:])
        self.biases = {layer.name: tensors[f"{layer.name}.bias"] for layer in self.layers}
        read = {name for layer in self.layers for name in layer.reads}
        self.outputs = [layer.name for layer in self.layers if layer.name not in read]

    def run(
        self, sites: Array, features: Array, int8: Mapping[str, Int8Layer], steps: Mapping[str, float]
    ) -> tuple[dict[str, Array], Array]:
        """The results of all layers, and the sites (S, 2) of the neck, from features (M, C) at sites int (M, 2).

        int8: the layers that are in 8 bits; steps: of the codes of what they read.
        """
        places = Places(sites, self)
        values, codes = {ENCODER: features}, {}

        def codes_of(name: str) -> Array:
            if name not in codes:
                codes[name] = to_codes(values[name], np.float32(1) / np.float32(steps[name]))
            return codes[name]

        for layer in self.layers:
            pairs, rows = places.pairs(layer)
            eight = int8.get(layer.name)
            if eight is None:
                x = np.concatenate([values[name] for name in layer.reads], axis=1)
                y = _convolve(x, pairs, rows, self.weights[layer.name], self.biases[layer.name])
                values[layer.name] = np.maximum(y, 0) if layer.relu else y
                continue
            x = np.concatenate([codes_of(name) for name in layer.reads], axis=1).astype(np.float64)
            sums = _convolve(x, pairs, rows, eight.weight.astype(np.float64), eight.bias.astype(np.float64))
            y = sums.astype(np.float32) * eight.scale
            values[layer.name] = np.maximum(y, 0) if layer.relu else y
            if layer.name in steps:
                codes[layer.name] = to_codes(sums.astype(np.float32), eight.scale / np.float32(steps[layer.name]))
        return values, places.neck


class Places:
    """The sites of all stages and of the neck, and the pairs of rows of all kernels."""

    def __init__(self, sites: Array, network: Network) -> None:
        self.network, self.stages, fine = network, [sites], 1
        for stride in network.strides:
            self.stages.append(np.unique(self.stages[-1] // (stride // fine), axis=0))
            fine = stride
        edge = network.strides[-1] // network.goal
        children = np.stack(np.meshgrid(*[np.arange(edge)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
        self.neck = (self.stages[-1][:, None] * edge + children).reshape(-1, 2)
        self._known: dict[Any, tuple[list[Pair], int]] = {}

    def pairs(self, layer: Layer) -> tuple[list[Pair], int]:
        """The pairs of each offset of a layer, and the rows of its result."""
        key = layer.stage, layer.first, layer.kernel, layer.name.split(".")[0]
        if key not in self._known:
            self._known[key] = self._find(layer)
        return self._known[key]

    def _find(self, layer: Layer) -> tuple[list[Pair], int]:
        if layer.stage is None:  # of a head
            return self._between(self.neck, self.neck, 1, layer.kernel), len(self.neck)
        own = self.stages[layer.stage + 1]
        if not layer.name.startswith("neck"):
            if not layer.first:
                return self._between(own, own, 1, layer.kernel), len(own)
            strides = [1, *self.network.strides]
            step = strides[layer.stage + 1] // strides[layer.stage]
            return self._between(self.stages[layer.stage], own, step, layer.kernel), len(own)
        stride = self.network.strides[layer.stage]
        if stride <= self.network.goal:
            return self._between(own, self.neck, self.network.goal // stride, layer.kernel), len(self.neck)
        step = stride // self.network.goal
        source = rows_of(own, self.neck // step)
        offset = self.neck[:, 1] % step * step + self.neck[:, 0] % step
        targets = [np.flatnonzero((offset == k) & (source >= 0)) for k in range(step * step)]
        return [(source[target], target) for target in targets], len(self.neck)

    def _between(self, fine: Array, coarse: Array, step: int, edge: int) -> list[Pair]:
        """x runs fastest among the offsets; odd kernels are centred, even ones begin at 0."""
        begin = -(edge // 2) if edge % 2 else 0
        pairs = []
        for j in range(edge):
            for i in range(edge):
                source = rows_of(fine, coarse * step + begin + np.array([i, j]))
                target = np.flatnonzero(source >= 0)
                pairs.append((source[target], target))
        return pairs


def _layers(bev: Mapping[str, Any], head: Mapping[str, Any]) -> Iterator[Layer]:
    """The layers in the order in which they are computed."""
    strides, last, ends = list(accumulate(bev["strides"], mul)), ENCODER, []
    for stage, count in enumerate(bev["layers"]):
        for number in range(count):
            name = f"stages.{stage}.{number}"
            yield Layer(name, (last,), 3, True, stage, number == 0)
            last = name
        ends.append(last)
    goal = strides[bev["neck_stage"] - 1]
    for stage, end in enumerate(ends):
        step = max(strides[stage] // goal, goal // strides[stage])
        yield Layer(f"neck.{stage}", (end,), step if step > 1 else 3, True, stage)
    neck = tuple(f"neck.{stage}" for stage in range(len(ends)))
    if head["kind"] == "anchors":
        yield Layer("head.scores", neck, 1, False)
        yield Layer("head.others", neck, 1, False)
        return
    yield Layer("head.shared", neck, 3, True)
    for task in range(len(head["tasks"])):
        for part in ("heat", "box"):
            name = f"head.tasks.{task}.{part}"
            yield Layer(f"{name}_hidden", ("head.shared",), 3, True)
            yield Layer(name, (f"{name}_hidden",), 3, False)


def to_codes(values: Array, factor: Array | np.float32) -> Array:
    """values * factor in float32, rounded to nearest, ties to even, in 0 .. 255."""
    return np.clip(np.rint(values * factor), 0, 255).astype(np.uint8)


def _convolve(x: Array, pairs: list[Pair], rows: int, weight: Array, bias: Array) -> Array:
    y = np.repeat(bias[None], rows, axis=0)  # (rows, out)
    for (source, target), own in zip(pairs, weight, strict=True):
        y[target] += x[source] @ own  # a target has one source at most
    return y


def rows_of(sites: Array, wanted: Array) -> Array:
    """The rows of wanted cells (N, 2) among sites (M, 2); -1 where there is none."""
    low = np.minimum(sites.min(axis=0), wanted.min(axis=0))
    size = np.maximum(sites.max(axis=0), wanted.max(axis=0)) - low + 1
    grid = np.full(size, -1, np.int64)
    grid[tuple((sites - low).T)] = np.arange(len(sites))
    return grid[tuple((wanted - low).T)]
