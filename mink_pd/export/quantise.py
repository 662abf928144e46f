"""Quantisation of the second network to int8 after training. The layers with the largest errors stay in float.

NNCF chooses the ranges. For activations, per tensor, it takes the means of the calibration canvases' minima and maxima;
for weights, per channel, the largest value. Ranges are not chosen by entropy: a canvas is mostly zeros, and clipping by
entropy ruins the boxes (LiDAR-PTQ, Zhou et al., ICLR 2024). On a 4x PointPillars, NNCF's error of the outputs was a
tenth of that of ONNX Runtime's quantiser, which also rounds the result of each convolution before the ReLU.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Column, Table

from mink_pd.errors import ExportError
from mink_pd.export.graph import OnnxSession, require, save_onnx

FLOAT_ABOVE = 5e-4  # a layer stays in float if its own error is larger
MOST_FLOAT = 0.25  # largest share of the layers that stay in float
RUINED = 0.05  # the export is refused if the error of the outputs is larger
TOLERABLE = 0.5  # a larger loss of AP [percentage points] gives a warning
PROBES = 2  # number of canvases on which the layers are compared one by one
_CONVOLUTIONS = ("Conv", "ConvTranspose")


Figures = dict[str, float]  # AP by name, in percent
Measure = Callable[[str, Path], Figures]  # name and file of a graph -> its AP


@dataclass
class Layer:
    """A convolution."""

    name: str
    error: float  # of the outputs if only this layer is int8, see :func:`output_error`
    float32: bool  # whether it is written in float32
    left_out: Figures = field(default_factory=dict)  # AP if only this layer is in float; empty if not measured


@dataclass
class Accuracy:
    """AP of the graph in float32, with all layers in int8, and as written."""

    float32: Figures
    all_int8: Figures
    written: Figures

    def losses(self) -> Figures:
        """The loss of AP of the graph as written."""
        return lost(self.float32, self.written)


@dataclass
class Quantised:
    """The result of quantising a graph."""

    layers: list[Layer]  # in the order of the network
    all_int8: float  # error of the outputs with all layers in int8
    error: float  # error of the outputs of the graph as written
    accuracy: Accuracy | None = None  # None if not measured

    def float32(self) -> set[str]:
        """The layers left in float32."""
        return {layer.name for layer in self.layers if layer.float32}

    def table(self) -> Table:
        """A table with a row per layer, and the rule that chooses the layers in its title."""
        title = (
            f"error of the outputs, over their variance; a layer above {FLOAT_ABOVE:.0e} alone is float32, a quarter at"
            " most"
        )
        if self.accuracy is not None:
            title += "; AP lost with all layers in int8 but this one"
        first = Column("layer", overflow="fold")
        result = Table(first, "alone in int8", "written as", title=title, box=None, padding=(0, 2, 0, 0))
        float32 = self.accuracy.float32 if self.accuracy else {}
        for name in float32:
            result.add_column(f"{name} lost", justify="right")

        def row(name: str, error: str, written: str, figures: Figures) -> None:
            result.add_row(name, error, written, *(f"{loss:+.2f}" for loss in lost(float32, figures).values()))

        for layer in self.layers:
            row(layer.name, f"{layer.error:.1e}", "float32" if layer.float32 else "int8", layer.left_out)
        row("all in int8", f"{self.all_int8:.1e}", "", self.accuracy.all_int8 if self.accuracy else {})
        row("as written", f"{self.error:.1e}", "", self.accuracy.written if self.accuracy else {})
        if self.accuracy is not None:
            for name, figures in (("AP in float32", float32), ("AP as written", self.accuracy.written)):
                result.add_row(name, "", "", *(f"{value:.2f}" for value in figures.values()))
        return result


def lost(before: Figures, after: Figures) -> Figures:
    """The decrease of each figure; empty if ``after`` has not been measured."""
    return {name: before[name] - value for name, value in after.items()}


def quantise(path: Path, canvases: list[np.ndarray], scratch: Path, measure: Measure | None = None) -> Quantised:
    """Replace the graph at ``path`` by its int8 form, calibrated on canvases (1, C, y, x).

    ``measure``: returns the AP of a graph. It is called for all layers in float32, for all in int8, and for int8 with
    each single layer in float32. Raises ExportError if the mean squared difference of the outputs exceeds RUINED of
    their variance.
    """
    original = require("onnx").load(path)
    full = quantised_model(original, canvases)
    names = [node.name for node in original.graph.node if node.op_type in _CONVOLUTIONS]
    probes = canvases[:PROBES]
    wanted = _run(original, probes, scratch)

    def error(float32: set[str]) -> float:
        return output_error(_run(with_float(full, original, float32), probes, scratch), wanted)

    result = select(names, error)
    if result.error > RUINED:
        raise ExportError(
            f"{path.name}: int8 changes the outputs by {result.error:.2f} of their variance; leave out --int8"
        )
    if measure is not None:

        def figures(name: str, float32: set[str]) -> Figures:
            return measure(name, _probe(with_float(full, original, float32), scratch))

        measure_losses(result, measure("float32", path), figures)
    save_onnx(path, with_float(full, original, result.float32()))
    return result


def select(names: list[str], error: Callable[[set[str]], float]) -> Quantised:
    """The layers, with those left in float32 by the rule that ``Quantised.table`` states.

    error: of the outputs with the named layers in float32 and all others in int8.
    """
    alone = {name: error(set(names) - {name}) for name in names}
    worst = sorted(names, key=lambda name: -alone[name])[: int(MOST_FLOAT * len(names))]
    chosen = {name for name in worst if alone[name] > FLOAT_ABOVE}
    return Quantised([Layer(n, alone[n], n in chosen) for n in names], error(set()), error(chosen))


def measure_losses(result: Quantised, before: Figures, figures: Callable[[str, set[str]], Figures]) -> None:
    """Add the AP with all layers in int8, with each left in float32 alone, and as written.

    before: AP in float32; figures: AP with the named layers in float32.
    """
    all_int8, chosen = figures("int8", set()), result.float32()
    for layer in result.layers:
        layer.left_out = figures(f"int8 but {layer.name}", {layer.name})
    result.accuracy = Accuracy(before, all_int8, figures("as written", chosen) if chosen else all_int8)


def quantised_model(model: Any, canvases: list[np.ndarray]) -> Any:
    """An ONNX model with all convolutions in int8, calibrated on canvases (1, C, y, x)."""
    nncf = require("nncf")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    data = nncf.Dataset(canvases, lambda canvas: {"canvas": canvas})
    preset = nncf.QuantizationPreset.MIXED  # unsigned after ReLU, otherwise symmetric
    return nncf.quantize(model, data, preset=preset, subset_size=len(canvases))


def output_error(found: list[list[np.ndarray]], wanted: list[list[np.ndarray]]) -> float:
    """The mean squared difference divided by the variance, at cells with a prediction; the largest of all outputs."""
    errors = []
    for output in range(len(wanted[0])):
        ours, theirs = [], []
        for one, other in zip(found, wanted, strict=True):
            cells = other[0][0, 0] > -100  # the first output is the class logits
            ours.append(one[output][0][:, cells].ravel())
            theirs.append(other[output][0][:, cells].ravel())
        errors.append(share_of_variance(np.concatenate(ours), np.concatenate(theirs)))
    return max(errors)


def share_of_variance(found: np.ndarray, wanted: np.ndarray) -> float:
    """Mean squared difference over the variance."""
    return float(np.square(found - wanted).mean() / max(float(wanted.var()), 1e-12))


def with_float(quantised: Any, original: Any, names: set[str]) -> Any:
    """A copy of a quantised model in which the named convolutions read float inputs and weights."""
    onnx = require("onnx")
    model = onnx.ModelProto()
    model.CopyFrom(quantised)
    producers = {output: node for node in model.graph.node for output in node.output}
    before = {node.name: node for node in original.graph.node}
    weights = {tensor.name: tensor for tensor in original.graph.initializer}
    taken = {tensor.name for tensor in model.graph.initializer}
    added: list[Any] = []
    for node in model.graph.node:
        if node.name not in names:
            continue
        node.input[0] = _unquantised(node.input[0], producers, added)
        for index in range(1, len(before[node.name].input)):
            own = before[node.name].input[index]
            if f"{own}_float" not in taken:
                tensor = onnx.TensorProto()
                tensor.CopyFrom(weights[own])
                tensor.name = f"{own}_float"
                model.graph.initializer.append(tensor)
                taken.add(tensor.name)
            node.input[index] = f"{own}_float"
    model.graph.node.extend(added)
    _sort(model)
    return model


def _unquantised(name: str, producers: dict[str, Any], added: list[Any]) -> str:
    """The float tensor that a quantised one comes from. Nodes between the two are computed a second time, in float."""
    onnx = require("onnx")
    node = producers.get(name)
    if node is None or node.op_type in _CONVOLUTIONS:
        return name
    if node.op_type == "DequantizeLinear":
        source = producers.get(node.input[0])  # none: the scale of a constant
        return name if source is None else _unquantised(source.input[0], producers, added)
    inputs = [_unquantised(part, producers, added) for part in node.input]
    if inputs == list(node.input):
        return name
    result = f"{name}_float"
    if not any(result in other.output for other in added):
        again = onnx.NodeProto()
        again.CopyFrom(node)
        again.name = f"{node.name}_float"
        again.input[:], again.output[:] = inputs, [result]
        added.append(again)
    return result


def _sort(model: Any) -> None:
    """Sort the nodes topologically: each comes after those that it reads."""
    nodes, known = list(model.graph.node), {""}
    known |= {value.name for value in model.graph.input} | {tensor.name for tensor in model.graph.initializer}
    ordered: list[Any] = []
    while nodes:
        ready = [node for node in nodes if all(name in known for name in node.input)]
        ordered += ready
        known |= {output for node in ready for output in node.output}
        nodes = [node for node in nodes if not all(name in known for name in node.output)]
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def _probe(model: Any, scratch: Path) -> Path:
    path = scratch / "probe.onnx"
    save_onnx(path, model)
    return path


def _run(model: Any, canvases: list[np.ndarray], scratch: Path) -> list[list[np.ndarray]]:
    session = OnnxSession(_probe(model, scratch))
    return [list(session.run({"canvas": canvas}).values()) for canvas in canvases]
