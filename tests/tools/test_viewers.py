"""Detection and both viewers on every detector, in both forms where it has two."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
from PIL import Image

from mink_pd.config import Config
from mink_pd.models import build_detector
from mink_pd.models.checkpoint import save_weights

Tool = Callable[..., CompletedProcess]
RANGE = [0, -12.8, -3, 32, 12.8, 1]
BEV = {"layers": [1, 1], "strides": [1, 2], "channels": [8, 8], "neck_channels": 8}
MODELS = {
    "pointpillars": {"name": "pointpillars", "voxel_size": [0.4, 0.4, 4.0], "pillar_channels": 8, **BEV},
    "second": {"name": "second", "voxel_size": [0.2, 0.2, 0.1], "encoder_channels": [4, 4, 4, 4, 8], **BEV},
    "pointrcnn": {
        "name": "pointrcnn", "points": 256, "propagation": [[16], [8]], "head_channels": [8],
        "stages": [{"points": 64, "radii": [2.0], "neighbours": [8], "channels": [[8]]},
                   {"points": 16, "radii": [8.0], "neighbours": [8], "channels": [[16]]}],
        "proposals": {"test": 16},
        "roi": {"points": 16, "channels": [8], "head_channels": [8],
                "stages": [{"points": 0, "radii": [9.0], "neighbours": [8], "channels": [[8]]}]},
    },
}  # fmt: skip


def untrained(kind: str, form: str, data: Path, folder: Path) -> Path:
    """A checkpoint that says something everywhere: no score is too low."""
    own = {} if kind == "pointrcnn" else {"bev": form}
    model = MODELS[kind] | own | {"nms": {"score": 0.0, "after": 8}}
    config = Config.model_validate({"data": {"root": str(data), "range": RANGE}, "model": model})
    torch.manual_seed(0)
    path = folder / f"{kind}-{form}.safetensors"
    save_weights(path, build_detector(config).state_dict(), config, epoch=0)
    return path


def picture(result: CompletedProcess, path: Path) -> np.ndarray:
    """What a viewer has written, (height, width, 3)."""
    if "mesa-vulkan-drivers" in result.stderr:
        pytest.skip("Open3D cannot render here: no Vulkan driver")
    assert result.returncode == 0, result.stderr
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) >= 800
    return pixels


@pytest.mark.parametrize("kind", list(MODELS))
def test_every_detector_is_detected_with_and_shown(kind: str, data: Path, tool: Tool, tmp_path: Path) -> None:
    forms = ("sparse",) if kind == "pointrcnn" else ("sparse", "dense")
    checkpoints = [untrained(kind, form, data, tmp_path) for form in forms]
    for checkpoint in checkpoints:
        out = tmp_path / checkpoint.stem
        result = tool("detect.py", checkpoint, data / "training" / "velodyne" / "000004.bin", "--out", out)
        assert result.returncode == 0, result.stderr
        assert len((out / "000004.txt").read_text().splitlines()) > 0
    both = (checkpoints[0], checkpoints[-1])
    result = tool("show_importance.py", both[1], "--rows", "20", "--save", tmp_path / "importance.png")
    picture(result, tmp_path / "importance.png")
    assert "of the 20 selected locations lie inside 2 labelled objects" in result.stdout
    result = tool("show_detections.py", *both, "--names", "A", "B", "--score", "0", "--save", tmp_path / "both.png")
    pixels = picture(result, tmp_path / "both.png")
    assert "A, frame 000004" in result.stdout
    assert "B, frame 000004" in result.stdout
    orange = (pixels[:, :, 0] > 200) & (pixels[:, :, 1] < 130) & (pixels[:, :, 2] < 60)  # false positives
    assert orange.sum() > 500
