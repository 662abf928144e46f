"""import_checkpoint.py as a user calls it, and what the other tools make of its checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
import yaml
from convert import names, point_reference

from mink_pd.models.checkpoint import load_detector

PUBLISHED = Path(__file__).resolve().parents[2] / "configs" / "published"
Tool = Callable[..., CompletedProcess]


@pytest.fixture
def theirs(tmp_path: Path) -> tuple[Path, Path]:
    """A small SECOND as OpenPCDet saves it, and its configuration."""
    torch.manual_seed(0)
    file, config = tmp_path / "checkpoint.pth", tmp_path / "small.yaml"
    torch.save({"epoch": 80, "model_state": names.second([4, 6, 8, 8, 10], [6, 8], [1, 1], 4)}, file)
    model = {"encoder_channels": [4, 6, 8, 8, 10], "channels": [6, 8], "layers": [1, 1], "neck_channels": 4}
    data = {"range": [0, -6.4, -3, 12.8, 6.4, 1]}
    config.write_text(yaml.safe_dump({"base": str(PUBLISHED / "openpcdet_second.yaml"), "model": model, "data": data}))
    return file, config


def test_its_checkpoint_detects_and_teaches(theirs: tuple[Path, Path], tool: Tool, data: Path, tmp_path: Path) -> None:
    file, config = theirs
    out = tmp_path / "teacher.safetensors"
    result = tool("import_checkpoint.py", file, "--format", "openpcdet", "--config", config, "--out", out)
    assert result.returncode == 0, result.stderr
    assert "1 that only serve training" in result.stdout
    detector, stored = load_detector(out)
    assert stored.model.head.places == "ends"
    assert detector.encoder.height.convolution.kernel.shape == (3, 8, 10)

    clouds = data / "training" / "velodyne" / "000000.bin"
    result = tool("detect.py", out, clouds, "--out", tmp_path / "found", "--score", "0")
    assert result.returncode == 0, result.stderr
    result = tool(
        "distill.py", config, "--teacher", out, f"data.root={data}", f"runs={tmp_path / 'runs'}", "data.workers=0",
        "train.epochs=1", "name=distilled", "model.bev=sparse", "model.compression=4", "train.accelerator=cpu",
        "data.augment.ground_truth_sampling={}", "train.threads=1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in (tmp_path / "runs/distilled/metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(rows[0]["pointdistiller_bev1"])


@pytest.mark.parametrize("framework", list(point_reference.KINDS))
def test_pointrcnns_checkpoint_detects(framework: str, tool: Tool, data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = point_reference.KINDS[framework](point_reference.SHAPE)
    key = {"openpcdet": "model_state", "mmdet3d": "state_dict"}[framework]
    torch.save({key: point_reference.state_dict(theirs)}, tmp_path / "checkpoint.pth")
    config = point_reference.small_config(framework, tmp_path / "small.yaml")
    out = tmp_path / "teacher.safetensors"
    result = tool("import_checkpoint.py", tmp_path / "checkpoint.pth", "--format", framework, "--config", config,
                  "--out", out)  # fmt: skip
    assert result.returncode == 0, result.stderr
    note = {"openpcdet": "1 that only serve training", "mmdet3d": "9 biases taken into the norms"}[framework]
    assert note in result.stdout
    clouds = data / "training" / "velodyne" / "000000.bin"
    result = tool("detect.py", out, clouds, "--out", tmp_path / "found", "--score", "0")
    assert result.returncode == 0, result.stderr
    assert " 0 objects" not in result.stdout


def test_a_case_that_disagrees_writes_nothing(theirs: tuple[Path, Path], tool: Tool, tmp_path: Path) -> None:
    file, config = theirs
    np.array([[3, 0, -1, 0.5], [3, 0.1, -1, 0.5]], np.float32).tofile(tmp_path / "points.bin")
    x, y = 60, 128  # 3 m and 0 m of 0.05 m from (0, -6.4)
    right = np.array([[20, y, x], [20, y + 2, x]])
    arguments = (file, "--format", "openpcdet", "--config", config, "--verify", tmp_path)
    np.savez(tmp_path / "expected.npz", voxel_coords=right)
    result = tool("import_checkpoint.py", *arguments, "--out", tmp_path / "good.safetensors")
    assert result.returncode == 0, result.stderr
    assert "voxel_coords" in result.stdout
    np.savez(tmp_path / "expected.npz", voxel_coords=right + 1)
    result = tool("import_checkpoint.py", *arguments, "--out", tmp_path / "bad.safetensors")
    assert result.returncode == 2
    assert "disagrees" in result.stderr
    assert "DIFFERS" in result.stdout
    assert not (tmp_path / "bad.safetensors").exists()


def test_raw_intensities_and_missing_counters(theirs: tuple[Path, Path], tool: Tool, tmp_path: Path) -> None:
    file, config = theirs
    content = torch.load(file, weights_only=True)
    for name in [name for name in content["model_state"] if name.endswith("num_batches_tracked")]:
        del content["model_state"][name]
    torch.save(content, file)
    out = tmp_path / "out.safetensors"
    arguments = (file, "--format", "openpcdet", "--config", config, "--out", out, "--intensity")
    result = tool("import_checkpoint.py", *arguments, "255")
    assert result.returncode == 0, result.stderr
    assert "1 that only serve training left out\n" in result.stdout
    kernel = load_detector(out)[0].encoder.first[0].convolution.kernel  # (27, 4, 4)
    raw = content["model_state"]["backbone_3d.conv_input.0.weight"].permute(1, 2, 3, 4, 0).flatten(0, 2)
    torch.testing.assert_close(kernel.detach(), raw * torch.tensor([1.0, 1.0, 1.0, 255.0])[:, None])
    result = tool("import_checkpoint.py", *arguments, "0")
    assert result.returncode == 2
    assert "not a number > 0" in result.stderr


def test_conventions_and_classes_of_another_training(theirs: tuple[Path, Path], tool: Tool, tmp_path: Path) -> None:
    file, config = theirs
    out = tmp_path / "out.safetensors"
    arguments = (file, "--format", "openpcdet", "--config", config, "--out", out)
    content = torch.load(file, weights_only=True)
    torch.save(content | {"meta": {"CLASSES": ["Pedestrian", "Cyclist", "Car"]}}, file)
    result = tool("import_checkpoint.py", *arguments)
    assert result.returncode == 2
    assert "data.classes=[Pedestrian,Cyclist,Car]" in result.stderr
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump({"base": str(config), "model": {"head": {"places": "centres"}}}))
    result = tool("import_checkpoint.py", file, "--format", "openpcdet", "--config", mine, "--out", out)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "use --config published/openpcdet_second" in result.stderr
    assert not out.exists()
    torch.save(content, file)
    result = tool("import_checkpoint.py", *arguments, "model.head.places=centres")
    assert result.returncode == 0, result.stderr
    assert "warning" in result.stdout
    assert "model.head.places=ends (not centres)" in result.stdout


def test_wrong_framework_is_one_line(theirs: tuple[Path, Path], tool: Tool, tmp_path: Path) -> None:
    file, config = theirs
    out = tmp_path / "out.safetensors"
    result = tool("import_checkpoint.py", file, "--format", "mmdet3d", "--config", config, "--out", out)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "--format" in result.stderr
    assert not out.exists()


def test_tensors_that_do_not_fit_are_all_listed(theirs: tuple[Path, Path], tool: Tool, tmp_path: Path) -> None:
    file, config = theirs
    content = torch.load(file, weights_only=True)
    del content["model_state"]["dense_head.conv_cls.bias"], content["model_state"]["backbone_3d.conv_out.1.bias"]
    torch.save(content, file)
    out = tmp_path / "out.safetensors"
    result = tool("import_checkpoint.py", file, "--format", "openpcdet", "--config", config, "--out", out)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "2 missing" in result.stderr
    for name in ("dense_head.conv_cls.bias", "backbone_3d.conv_out.1.bias"):
        assert name in result.stdout
    assert not out.exists()


def test_a_checkpoint_is_not_written_over_itself(tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    path.write_text("weights of others")
    result = tool(
        "import_checkpoint.py", path, "--format", "mmdet3d", "--config", "published/mmdet3d_second", "--out", path
    )
    assert result.returncode == 2
    assert "is the checkpoint itself" in result.stderr
    assert path.read_text() == "weights of others"
