"""Export, detect with the export, and score it, as a user calls them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

for package in ("onnx", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason="optional dependency: pip install 'mink_pd[export]'")

Tool = Callable[..., CompletedProcess]


@pytest.fixture(scope="module")
def exported(teacher: Path, data: Path, tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "out"
    result = tool("export.py", teacher, "--out", folder, "--frames", data / "training" / "velodyne")
    assert result.returncode == 0, result.stderr
    assert "equal to the detector on 6 clouds" in result.stdout
    return folder


def detections(folder: Path) -> dict[str, np.ndarray]:
    """Boxes and scores of each file."""
    files = sorted(folder.glob("*.json"))
    rows = {file.stem: json.loads(file.read_text()) for file in files}
    return {name: np.column_stack([r["boxes"], r["scores"]]) for name, r in rows.items() if r["boxes"]}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_detect_finds_what_the_run_finds(
    runtime: str, teacher: Path, exported: Path, data: Path, tool: Tool, tmp_path: Path
) -> None:
    clouds = sorted((data / "training" / "velodyne").glob("*.bin"))
    copies = tmp_path / "clouds"  # outside KITTI's layout, so that boxes are written as they are found
    copies.mkdir()
    for cloud in clouds:
        (copies / cloud.name).write_bytes(cloud.read_bytes())
    for source, out, more in ((teacher, "run", ()), (exported, "export", ("--runtime", runtime))):
        result = tool("detect.py", source, copies, "--out", tmp_path / out, *more)
        assert result.returncode == 0, result.stderr
    ours, theirs = detections(tmp_path / "run"), detections(tmp_path / "export")
    assert ours.keys() == theirs.keys()
    assert len(ours) > 1
    for name, rows in ours.items():
        np.testing.assert_allclose(theirs[name], rows, atol=1e-3)


def test_the_export_scores_as_the_checkpoint_does(
    teacher: Path, exported: Path, data: Path, tool: Tool, tmp_path: Path
) -> None:
    tables = []
    for name, source in (("run", teacher), ("export", exported)):
        found = tool("detect.py", source, "--split", "train", "--data", data, "--out", tmp_path / name)
        assert found.returncode == 0, found.stderr
        labels = data / "training" / "label_2"
        result = tool(
            "eval_kitti.py", "--labels", labels, "--detections", tmp_path / name, "--json", tmp_path / f"{name}.json"
        )
        assert result.returncode == 0, result.stderr
        tables.append(json.loads((tmp_path / f"{name}.json").read_text()))
    figures = [[float(x) for x in re.findall(r"\d+\.\d+", json.dumps(table))] for table in tables]
    assert max(figures[0]) > 0
    np.testing.assert_allclose(figures[1], figures[0], atol=0.05)


def test_what_cannot_be(teacher: Path, exported: Path, data: Path, tool: Tool, tmp_path: Path) -> None:
    cloud = data / "training" / "velodyne" / "000000.bin"
    for arguments, text in (
        (("export.py", teacher, "--out", exported), "holds an export already; --force replaces it"),
        (("export.py", teacher, "--out", data), "exists and is not an export"),
        (("export.py", teacher, "--out", tmp_path / "x", "--opset", "9"), "--opset 9 cannot be written; choose"),
        (("export.py", exported, "--out", tmp_path / "x"), "no such checkpoint"),
        (("detect.py", teacher, cloud, "--out", tmp_path / "x", "--runtime", "openvino"), "--runtime is for a folder"),
        (("detect.py", exported, cloud, "--out", tmp_path / "x", "--bf16"), "leave it out for an export"),
    ):  # fmt: skip
        result = tool(*arguments)
        assert result.returncode == 2
        assert text in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()
