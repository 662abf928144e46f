"""Signals after OpenVINO has been used."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import signal, sys
from pathlib import Path
import mink_pd, numpy, onnx
from onnx import helper
from mink_pd.export.graph import OpenVinoSession

values = [helper.make_tensor_value_info(name, 1, [1, 2, 8, 8]) for name in ("x", "y")]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "graph", values[:1], values[1:])
path = Path(sys.argv[1]) / "model.onnx"
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
path.write_bytes(model.SerializeToString())
first, second = OpenVinoSession(path), OpenVinoSession(path)
first.run({"x": numpy.zeros((1, 2, 8, 8), numpy.float32)})
del first, second  # in the order in which they were made
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
signal.raise_signal(signal.SIGUSR1)
"""


def test_a_signal_is_handled_after_sessions_were_freed_in_any_order(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PROGRAM, tmp_path], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
