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


def test_int8_says_what_it_costs(teacher: Path, data: Path, tool: Tool, tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="optional dependency: pip install 'mink_pd[export]'")
    options = ("--int8", "--split", "train", "--split-frames", "4", "--data", data, "--out", tmp_path / "out")
    result = tool("export.py", teacher, "--to", "openvino", *options, "--frames", data / "training" / "velodyne")
    assert result.returncode == 0, result.stderr
    table = (tmp_path / "out" / "verification.txt").read_text()
    bev, in_3d = map(float, re.search(r"AP in float32 +([\d.]+) +([\d.]+)", table).groups())  # type: ignore[union-attr]
    assert bev >= in_3d > 0
    assert len(re.findall(r"Conv\S* .*int8 +[+-]\d+\.\d\d +[+-]\d+\.\d\d", table)) > 5  # a row per layer
    ids = (data / "ImageSets" / "train.txt").read_text().split()[:4]
    few = tmp_path / "few.txt"
    few.write_text("\n".join(ids))
    found = tool("detect.py", teacher, "--split", "train", "--data", data, "--out", tmp_path / "found")
    assert found.returncode == 0, found.stderr
    files = ("--labels", data / "training" / "label_2", "--detections", tmp_path / "found", "--frames", few)
    result = tool("eval_kitti.py", *files)
    assert result.returncode == 0, result.stderr
    assert f"bev {bev:.2f}" in result.stdout
    assert f"3d {in_3d:.2f}" in result.stdout


def test_what_cannot_be(teacher: Path, exported: Path, data: Path, tool: Tool, tmp_path: Path) -> None:
    cloud = data / "training" / "velodyne" / "000000.bin"
    cardless = tmp_path / "cardless"
    cardless.mkdir()
    (cardless / "backbone_neck_head.onnx").write_bytes((exported / "backbone_neck_head.onnx").read_bytes())
    for arguments, text in (
        (("export.py", teacher, "--out", exported), "holds an export already; --force replaces it"),
        (("export.py", teacher, "--out", data), "exists and is not an export"),
        (("export.py", teacher, "--out", tmp_path / "x", "--opset", "9"), "--opset 9 cannot be written; choose"),
        (("export.py", exported, "--out", tmp_path / "x"), "no such checkpoint"),
        (("export.py", teacher, "--out", tmp_path / "x", "--split", "val"), "--split measures the AP that int8 costs"),
        (("export.py", teacher, "--out", tmp_path / "x", "--int8", "--split-frames", "4"), "--split-frames goes with"),
        (
            ("export.py", teacher, "--out", tmp_path / "x", "--int8", "--split", "no", "--data", data),
            "no list for split 'no'",
        ),
        (("detect.py", teacher, cloud, "--out", tmp_path / "x", "--runtime", "openvino"), "--runtime is for a folder"),
        (("detect.py", cardless, cloud, "--out", tmp_path / "x"), "model.yaml: cannot be read"),
        (("detect.py", exported, cloud, "--out", tmp_path / "x", "--bf16"), "leave it out for an export"),
    ):  # fmt: skip
        result = tool(*arguments)
        assert result.returncode == 2
        assert text in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()
