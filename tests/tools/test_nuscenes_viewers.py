"""Detection and the viewers on frames in nuScenes' schema."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
from PIL import Image

from mink_pd.config import load_config
from mink_pd.models import build_detector
from mink_pd.models.checkpoint import save_weights

pytest.importorskip("nuscenes")
Tool = Callable[..., CompletedProcess]
CONFIG = Path(__file__).resolve().parents[2] / "configs" / "pointpillars_nuscenes_simulator.yaml"
TINY = [
    "model.pillar_channels=8", "model.channels=[8,8,8]", "model.layers=[0,0,0]", "model.neck_channels=8",
    "model.voxel_size=[1.0,1.0,8.0]", "model.nms.score=0.0", "model.nms.after=8", "data.sweeps=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(nuscenes_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights that say something everywhere."""
    config = load_config(CONFIG, [*TINY, f"data.root={nuscenes_root}"])
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_weights(path, build_detector(config).state_dict(), config, epoch=0)
    return path


def test_a_split_and_a_single_turn(checkpoint: Path, nuscenes_root: Path, tool: Tool, tmp_path: Path) -> None:
    result = tool("detect.py", checkpoint, "--split", "val", "--out", tmp_path / "split")
    assert result.returncode == 0, result.stderr
    assert "in 4 point clouds" in result.stdout
    turn = next((nuscenes_root / "samples" / "LIDAR_TOP").glob("*.pcd.bin"))
    result = tool("detect.py", checkpoint, turn, "--out", tmp_path / "turn")
    assert result.returncode == 0, result.stderr
    file = tmp_path / "turn" / turn.name.replace(".pcd.bin", ".json")
    for path in (file, *(tmp_path / "split").glob("*.json")):
        found = json.loads(path.read_text())
        assert np.shape(found["boxes"]) == (8, 7)
        assert np.shape(found["velocities"]) == (8, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--split", "val", "a.bin"), "either point clouds, --split NAME or --raw"),
        (("--data", "x", "a.bin"), "--data goes with --split"),
        (("--split", "val", "--calib", "c.txt"), "--calib goes with point clouds"),
        (("--split", "absent"), "absent"),
    ],
)
def test_mistakes_are_one_line(
    checkpoint: Path, tool: Tool, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = tool("detect.py", checkpoint, *arguments, "--out", tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("viewer", "arguments"),
    [("show_importance.py", ["--rows", "20"]), ("show_detections.py", ["--names", "A", "B", "--score", "0"])],
)
def test_viewers_take_frames_without_a_camera(
    checkpoint: Path, tool: Tool, tmp_path: Path, viewer: str, arguments: list[str]
) -> None:
    runs = [checkpoint] * (2 if viewer == "show_detections.py" else 1)
    path = tmp_path / "picture.png"
    result = tool(f"../viz/{viewer}", *runs, *arguments, "--save", path)
    if "mesa-vulkan-drivers" in result.stderr:
        pytest.skip("Open3D cannot render here: no Vulkan driver")
    assert result.returncode == 0, result.stderr
    with Image.open(path) as image:
        assert image.size == (1600, 900)
