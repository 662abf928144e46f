"""summary.py as a user calls it."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Tool = Callable[..., CompletedProcess]


@pytest.mark.parametrize("frame", [True, False])
def test_a_row_for_each_compression(frame: bool, config: Path, data: Path, tool: Tool) -> None:
    cloud = ("--frame", data / "training" / "velodyne" / "000000.bin") if frame else ()
    result = tool("summary.py", config, *cloud, "--compressions", "1,4", "--repeats", "1")
    assert result.returncode == 0, result.stderr
    rows = [line for line in result.stdout.splitlines() if line.startswith("│")]
    assert [row.split()[1] for row in rows] == ["1x", "4x"]
    assert float(rows[1].split()[6].removesuffix("x")) > 2  # parameters


def test_settings_for_all_and_a_wrong_one(config: Path, tool: Tool) -> None:
    result = tool("summary.py", config, "--set", "model.bev=dense", "--compressions", "16", "--repeats", "1")
    assert result.returncode == 0, result.stderr
    result = tool("summary.py", config, "--set", "model.bv=dense")
    assert result.returncode == 2
    assert "model.bev" in result.stderr


def test_runtimes_beside_the_detector(config: Path, data: Path, tool: Tool) -> None:
    for package in ("onnx", "onnxruntime", "openvino", "nncf"):
        pytest.importorskip(package, reason="optional dependency: pip install 'mink_pd[export]'")
    cloud = data / "training" / "velodyne" / "000000.bin"
    result = tool("summary.py", config, "--frame", cloud, "--compressions", "4", "--repeats", "1", "--runtimes")
    assert result.returncode == 0, result.stderr
    for name in ("sparse", "torch dense", "ONNX Runtime", "ONNX Runtime int8", "OpenVINO", "OpenVINO int8"):
        assert f"│ {name} " in result.stdout
