"""Packages that are loaded when they are needed, and what they must not do."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import multiprocessing.process as process, sys, threading
from pathlib import Path
import numpy, onnx
from onnx import helper
from mink_pd.export.graph import OpenVinoSession, require
from mink_pd.export.quantise import quantised_model

process.BaseProcess.start = lambda self: print("starts a process:", self)
folder = Path(sys.argv[1])
assert "openvino_telemetry" not in sys.modules
values = [helper.make_tensor_value_info(name, 1, [1, 2, 8, 8]) for name in ("canvas", "maps")]
weights = helper.make_tensor("weights", 1, [2, 2, 3, 3], numpy.linspace(-1, 1, 36))
node = helper.make_node("Conv", ["canvas", "weights"], ["maps"], name="layer", pads=[1, 1, 1, 1])
graph = helper.make_graph([node], "graph", values[:1], values[1:], [weights])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
model = quantised_model(model, [numpy.ones((1, 2, 8, 8), numpy.float32)])
(folder / "model.onnx").write_bytes(model.SerializeToString())
openvino = require("openvino")
openvino.save_model(openvino.convert_model(folder / "model.onnx"), folder / "model.xml")
OpenVinoSession(folder / "model.xml")
print("threads:", [thread.name for thread in threading.enumerate()])
"""


def test_nothing_is_reported_over_the_network(tmp_path: Path) -> None:
    """OpenVINO's and NNCF's telemetry sends from processes that threads of their own start. Not in this process: NNCF
    reports nothing under pytest."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "starts a process" not in done.stdout
    assert done.stdout.splitlines()[-1] == "threads: ['MainThread']"
