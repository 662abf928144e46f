"""PointRCNN through the same tools: train, distil, evaluate, detect."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

Tool = Callable[..., CompletedProcess]


@pytest.fixture(scope="module")
def points_config(config: Path) -> Path:
    """The tiny configuration with a tiny PointRCNN."""

    def stage(points: int, radius: float, *channels: int) -> dict:
        return {"points": points, "radii": [radius], "neighbours": [8], "channels": [list(channels)]}

    model = {
        "name": "pointrcnn",
        "points": 512,
        "stages": [stage(128, 1.0, 8, 16), stage(32, 4.0, 16, 32)],
        "propagation": [[32], [16]],
        "head_channels": [16],
        "proposals": {"before": 256, "train": 32, "test": 16},
        "roi": {"points": 32, "channels": [16], "stages": [stage(0, 9.0, 16, 32)], "head_channels": [16], "sampled": 8},
    }
    settings = yaml.safe_load(config.read_text()) | {
        "model": model,
        "distill": {"pointdistiller": {"taps": ["neck"], "importance": "channel_max", "rows": 64, "neighbours": 8}},
    }
    path = config.parent / "points.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_it_trains_distils_evaluates_and_detects(points_config: Path, data: Path, tool: Tool, tmp_path: Path) -> None:
    runs = points_config.parent / "runs"
    result = tool("train.py", points_config, "name=points")
    assert result.returncode == 0, result.stderr
    small = ("name=points-small", "model.compression=4")
    result = tool("distill.py", points_config, "--teacher", runs / "points", *small)
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in (runs / "points-small" / "metrics.jsonl").read_text().splitlines()]
    assert {"point", "point_box", "region", "region_box", "pointdistiller_neck"} < set(rows[0])
    checkpoint = runs / "points-small"
    result = tool("eval_kitti.py", "--checkpoint", checkpoint, "--json", tmp_path / "a.json")
    assert result.returncode == 0, result.stderr
    clouds = data / "training" / "velodyne"
    result = tool("detect.py", checkpoint, clouds / "000004.bin", "--out", tmp_path / "found")
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "found").glob("000004.*"))


def test_a_run_repeats_itself(points_config: Path, tool: Tool) -> None:
    losses = []
    for name in ("once", "again"):
        result = tool("train.py", points_config, f"name={name}", "train.epochs=1")
        assert result.returncode == 0, result.stderr
        rows = (points_config.parent / "runs" / name / "metrics.jsonl").read_text().splitlines()
        losses.append(json.loads(rows[0])["loss"])
    assert losses[0] == losses[1]
