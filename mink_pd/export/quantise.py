"""Quantisation of the second network to int8 after training, with the layers that suffer most left in float.

NNCF chooses the ranges: of activations, per tensor, the mean over the calibration canvases of each one's minimum and
of its maximum; of weights, per channel, the largest value. Never by entropy: a canvas is mostly zeros, and clipping
by entropy ruins the boxes (LiDAR-PTQ, Zhou et al., ICLR 2024). Of the two quantisers at hand it is the better one: on
a 4x PointPillars the error of the outputs was a tenth of what ONNX Runtime's quantiser left, which also rounds each
convolution's result before the ReLU.
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

FLOAT_ABOVE = 5e-4  # a layer whose own error is larger stays in float
MOST_FLOAT = 0.25  # of the layers
RUINED = 0.05  # error of the outputs from which the export is refused
TOLERABLE = 0.5  # AP lost, in percent points, beyond which a user is warned
PROBES = 2  # canvases on which the layers are compared one by one
_CONVOLUTIONS = ("Conv", "ConvTranspose")


Figures = dict[str, float]  # AP by name, in percent
Measure = Callable[[str, Path], Figures]  # of a graph, which is called so


@dataclass
class Layer:
    """A convolution. error: of the outputs if it alone is int8, see :func:`output_error`; left_out: AP if it alone is
    in float, empty if not measured."""

    name: str
    error: float
    float32: bool
    left_out: Figures = field(default_factory=dict)


@dataclass
class Accuracy:
    """AP of the graph in float32, with all layers in int8, and as written."""

    float32: Figures
    all_int8: Figures
    written: Figures

    def losses(self) -> Figures:
        """What the graph as written has lost."""
        return lost(self.float32, self.written)


@dataclass
class Quantised:
    """layers: in the order of the network; all_int8, error: of the outputs with all layers in int8, and as written;
    accuracy: None if not measured."""

    layers: list[Layer]
    all_int8: float
    error: float
    accuracy: Accuracy | None = None

    def table(self) -> Table:
        """A row per layer, with the rule."""
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
    """How much lower the figures are; nothing where ``after`` has not been measured."""
    return {name: before[name] - value for name, value in after.items()}


def quantise(path: Path, canvases: list[np.ndarray], scratch: Path, measure: Measure | None = None) -> Quantised:
    """Replace the graph at ``path`` by its int8 form, calibrated on canvases (1, C, y, x).

    ``measure``: gives the AP of a graph; all layers in float32, in int8, and each left in float32 alone are measured
    with it. Raises ExportError if the outputs differ from the float ones by more than RUINED of their variance.
    """
    original = require("onnx").load(path)
    full = quantised_model(original, canvases)
    names = [node.name for node in original.graph.node if node.op_type in _CONVOLUTIONS]
    probes = canvases[:PROBES]
    wanted = _run(original, probes, scratch)

    def error(float32: set[str]) -> float:
        return output_error(_run(with_float(full, original, float32), probes, scratch), wanted)

    alone = {name: error(set(names) - {name}) for name in names}
    worst = sorted(names, key=lambda name: -alone[name])[: int(MOST_FLOAT * len(names))]
    chosen = {name for name in worst if alone[name] > FLOAT_ABOVE}
    result = Quantised([Layer(n, alone[n], n in chosen) for n in names], error(set()), error(chosen))
    if result.error > RUINED:
        raise ExportError(
            f"{path.name}: int8 changes the outputs by {result.error:.2f} of their variance; leave out --int8"
        )
    if measure is not None:

        def figures(name: str, float32: set[str]) -> Figures:
            return measure(name, _probe(with_float(full, original, float32), scratch))

        before, all_int8 = measure("float32", path), figures("int8", set())
        for layer in result.layers:
            layer.left_out = figures(f"int8 but {layer.name}", {layer.name})
        result.accuracy = Accuracy(before, all_int8, figures("as written", chosen) if chosen else all_int8)
    save_onnx(path, with_float(full, original, chosen))
    return result


def quantised_model(model: Any, canvases: list[np.ndarray]) -> Any:
    """An ONNX model with all convolutions in int8, calibrated on canvases (1, C, y, x)."""
    nncf = require("nncf")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    data = nncf.Dataset(canvases, lambda canvas: {"canvas": canvas})
    preset = nncf.QuantizationPreset.MIXED  # unsigned after ReLU, else symmetric
    return nncf.quantize(model, data, preset=preset, subset_size=len(canvases))


def output_error(found: list[list[np.ndarray]], wanted: list[list[np.ndarray]]) -> float:
    """Largest over the outputs of the mean squared difference over the variance, at cells with a prediction."""
    errors = []
    for output in range(len(wanted[0])):
        ours, theirs = [], []
        for one, other in zip(found, wanted, strict=True):
            cells = other[0][0, 0] > -100  # the first output is the class logits
            ours.append(one[output][0][:, cells].ravel())
            theirs.append(other[output][0][:, cells].ravel())
        a, b = np.concatenate(ours), np.concatenate(theirs)
        errors.append(float(np.square(a - b).mean() / max(float(b.var()), 1e-12)))
    return max(errors)


def with_float(quantised: Any, original: Any, names: set[str]) -> Any:
    """A copy of a quantised model in which the named convolutions read float inputs and weights again."""
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
    """The float tensor that a quantised one comes from; what lies between both is computed once more, in float."""
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
    """Put the nodes into an order in which each comes after those that it reads."""
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
