"""Writes networks as ONNX graphs, and runs graphs in ONNX Runtime and OpenVINO."""

import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mink_pd.errors import ConfigError, DataError

OPSETS = range(11, 21)  # from the oldest that deployed runtimes read to the newest that torch's tracing exporter writes
Arrays = dict[str, np.ndarray]


class Session(Protocol):
    """A loaded graph."""

    outputs: list[str]

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph on arrays by name of the input; return arrays by name of the output."""


def require(package: str) -> Any:
    """Import an optional package. Raises ConfigError with the command to install it if it is missing."""
    _report_nothing()
    try:
        return __import__(package)
    except ImportError:
        raise ConfigError(f"{package} is not installed; pip install 'mink_pd[export]', or make setup") from None


def _report_nothing() -> None:
    """Keep OpenVINO and NNCF from reporting their use over the network, unless their telemetry is already loaded.

    The telemetry also forks the process, from threads that live for minutes if there is no network.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: it cannot be imported


@cache
def openvino_core() -> Any:
    """OpenVINO's Core: one per process, and never freed.

    Its CPU plugin gives the main thread a new signal stack and removes it when the plugin is freed. If two plugins are
    not freed in reverse order, the thread keeps an unmapped stack. The next signal with a Python handler (an interrupt,
    the end of a loader's worker) then causes a segmentation fault.
    """
    return require("openvino").Core()


def check_opset(opset: int) -> None:
    """Raise ConfigError for an opset that cannot be written."""
    if opset not in OPSETS:
        raise ConfigError(f"--opset {opset} cannot be written; choose {OPSETS[0]} to {OPSETS[-1]}")


def write_onnx(
    path: Path,
    network: nn.Module,
    inputs: dict[str, Tensor],
    outputs: list[str],
    opset: int,
    dynamic: dict[str, dict[int, str]] | None = None,
    plugin: str | None = None,
) -> None:
    """Trace ``network`` on ``inputs`` and write the graph.

    dynamic: names of dimensions that may have any size. plugin: a runtime-specific operator, which the network contains
    in the domain ``mink_pd``. It is moved to the default domain, where runtimes look for it.
    """
    onnx = require("onnx")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated; the other one begins at opset 18
        torch.onnx.export(
            network.eval(), tuple(inputs.values()), path, dynamo=False, opset_version=opset,
            input_names=list(inputs), output_names=outputs, dynamic_axes=dynamic or {},
            custom_opsets={"mink_pd": 1} if plugin else None,
        )  # fmt: skip
    model = onnx.load(path)
    if plugin is None:
        onnx.checker.check_model(model, full_check=True)
    else:
        _into_default_domain(model, plugin)
    save_onnx(path, model)


def _into_default_domain(model: Any, plugin: str) -> None:
    (node,) = [node for node in model.graph.node if node.op_type == plugin]
    node.domain = ""
    kept = [opset for opset in model.opset_import if opset.domain != "mink_pd"]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def save_onnx(path: Path, model: Any) -> None:
    """Write a model without the names of source files, so that equal networks give equal bytes."""
    for node in model.graph.node:
        node.doc_string = ""
    path.write_bytes(model.SerializeToString(deterministic=True))


def keep_outputs(source: Path, path: Path, outputs: list[str]) -> None:
    """Write the graph of ``source`` with only these outputs, in this order."""
    model = require("onnx").load(source)
    by_name = {value.name: value for value in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(by_name[name] for name in outputs)
    save_onnx(path, model)


def shapes(path: Path) -> tuple[dict[str, list[int | str]], dict[str, list[int | str]]]:
    """Inputs and outputs of a graph: name -> shape. A dimension that may have any size is given by a name."""
    if path.suffix == ".xml":
        model = openvino_core().read_model(path)
        return _ports(model.inputs), _ports(model.outputs)
    graph = require("onnx").load(path).graph

    def read(values: Any) -> dict[str, list[int | str]]:
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    return read(graph.input), read(graph.output)


def _ports(ports: Any) -> dict[str, list[int | str]]:
    return {
        port.get_any_name(): [
            dimension.get_length() if dimension.is_static else "any" for dimension in port.get_partial_shape()
        ]
        for port in ports
    }


class OnnxSession:
    """A graph in ONNX Runtime, on the CPU."""

    def __init__(self, path: Path) -> None:
        runtime = require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry(
            "session.intra_op.allow_spinning", "0"
        )  # idle threads must not take cores from others
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no public class
            raise DataError(f"{path}: ONNX Runtime cannot load it ({_first_line(error)}); export again") from None
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def run(self, inputs: Arrays) -> Arrays:
        return dict(zip(self.outputs, self._session.run(None, inputs), strict=True))


class OpenVinoSession:
    """A graph (ONNX, or OpenVINO's .xml) in OpenVINO, on the CPU."""

    def __init__(self, path: Path, precision: str = "f32") -> None:
        """``precision``: of the arithmetic, f32 or bf16."""
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self._model = openvino_core().compile_model(path, "CPU", settings)
        except RuntimeError as error:
            raise DataError(f"{path}: OpenVINO cannot load it ({_first_line(error)}); export again") from None
        self.outputs = [output.get_any_name() for output in self._model.outputs]

    def run(self, inputs: Arrays) -> Arrays:
        result = self._model(inputs)
        return {name: np.array(result[index]) for index, name in enumerate(self.outputs)}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
