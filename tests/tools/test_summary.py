"""summary.py as a user calls it."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
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


def test_the_cloud_is_read_as_the_configuration_says(config: Path, data: Path, tmp_path: Path, tool: Tool) -> None:
    points = np.fromfile(data / "training" / "velodyne" / "000000.bin", np.float32).reshape(-1, 4)
    cloud, options = tmp_path / "cloud.bin", ("--compressions", "1", "--repeats", "1")
    np.column_stack([points[:, :3], 200 * points[:, 3], points[:, 3]]).tofile(cloud)
    told = ("data.columns=[x,y,z,intensity,_]", "data.intensity=255", "data.own_vehicle=[0,-40,-9,10,40,9]")
    result = tool("summary.py", config, "--frame", cloud, "--set", *told, *options)
    assert result.returncode == 0, result.stderr
    assert f" of {np.count_nonzero(points[:, 0] > 10):,} points" in result.stdout
    result = tool("summary.py", config, "--frame", cloud, *options)
    assert result.returncode == 2


def test_runtimes_beside_the_detector(config: Path, data: Path, tool: Tool) -> None:
    for package in ("onnx", "onnxruntime", "openvino", "nncf"):
        pytest.importorskip(package, reason="optional dependency: pip install 'mink_pd[export]'")
    cloud = data / "training" / "velodyne" / "000000.bin"
    result = tool("summary.py", config, "--frame", cloud, "--compressions", "4", "--repeats", "1", "--runtimes")
    assert result.returncode == 0, result.stderr
    for name in ("sparse", "torch dense", "ONNX Runtime", "ONNX Runtime int8", "OpenVINO", "OpenVINO int8"):
        assert f"│ {name} " in result.stdout
