"""The first detection of a fresh process, from its start to the boxes: the engine's command, and Python."""

import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Pair, Side
from benchmarks.inputs import Inputs
from benchmarks.rows.detectors import ready
from benchmarks.rows.distillation import student_config
from benchmarks.rows.row import Row, UnavailableError
from mink_pd.detect.engine_file import engine_file
from mink_pd.models.checkpoint import save_weights
from mink_pd.models.detectors.pointpillars import PointPillars

ROOT = Path(__file__).resolve().parents[2]
COMMAND, SOURCES = ROOT / "build/engine/minkpd-detect", ROOT / "mink_pd/native/csrc"
ENGINE, PYTHON = 100.0, 2000.0  # targets [ms]
CODE = """
import sys
import numpy
import mink_pd
points = numpy.fromfile(sys.argv[2], numpy.float32).reshape(-1, 4)
found = mink_pd.load_detector(sys.argv[1]).detect_points(points)
print("boxes" if len(found.boxes) else "none", flush=True)
"""


def engine_command(inputs: Inputs) -> Pair:
    sources = max(file.stat().st_mtime for file in SOURCES.rglob("*") if file.suffix in (".cpp", ".h"))
    if not COMMAND.is_file() or COMMAND.stat().st_mtime < sources:
        raise UnavailableError("make engine builds the command that this row starts, again where its sources changed")
    student = inputs.folder / "student.mpd"
    student.write_bytes(engine_file(_student(inputs)))
    return _fresh([str(COMMAND), str(student), str(_cloud(inputs))], ENGINE, found='"score"')


def python(inputs: Inputs) -> Pair:
    detector, student = _student(inputs), inputs.folder / "student.safetensors"
    save_weights(student, dict(detector.state_dict()), detector.config, epoch=1)
    return _fresh([sys.executable, "-c", CODE, str(student), str(_cloud(inputs))], PYTHON, found="boxes")


def _student(inputs: Inputs) -> PointPillars:
    return ready(student_config(inputs.config), inputs.batch(), inputs.sizes.candidates)


def _cloud(inputs: Inputs) -> Path:
    path = inputs.folder / "cloud.bin"
    inputs.frame().points.tofile(path)
    return path


def _fresh(command: list[str], target: float, found: str) -> Pair:
    """A process from its start to its boxes, against a fixed time [ms]; ``found``: in its first line if it has any."""

    def work() -> "_Process":
        return _Process(command)

    def check() -> None:
        assert found in work().line, "nothing found: decoding and NMS would cost nothing"

    return Pair(Side(work), target, check, notes=["the files are in the kernel's cache"])


class _Process:
    """A process that has written its first line. Its end, which nobody waits for, comes when this is freed."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        if not self.line:
            raise RuntimeError(f"{command[0]} failed: {self.process.communicate()[1]}")

    def __del__(self) -> None:
        self.process.communicate()


ROWS = [
    Row("first-engine", "first detection of a fresh process: minkpd-detect, 4x student", f"{ENGINE:.0f} ms", 1.0,
        engine_command),
    Row("first-python", "first detection of a fresh process: Python, 4x student", f"{PYTHON:.0f} ms", 1.0, python),
]  # fmt: skip
