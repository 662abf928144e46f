"""The demo, on a handful of frames: every step, the table, the pictures, and a second call that reuses them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("model.channels=[8, 8, 16]", "model.pillar_channels=8", "model.neck_channels=8", "model.layers=[1, 1, 1]",
         "train.epochs=1", "train.threads=1", "data.workers=0")  # fmt: skip


def demo(folder: Path) -> str:
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), "--train", "3", "--val", "2", *SMALL]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if "mesa-vulkan-drivers" in done.stderr:
        pytest.skip("Open3D cannot render here: no Vulkan driver")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_from_nothing_and_again(tmp_path: Path) -> None:
    first = demo(tmp_path)
    for title in ("parameters", "multiply-adds", "ms per frame", "mAP BEV", "mAP 3D", "Cyclist 3D", "gain"):
        assert title in first
    row = re.search(r"parameters\s+│ ([0-9.]+) M\s+│ ([0-9.]+) M\s+│ ([0-9.]+) M", first)
    assert row is not None
    teacher, student, distilled = map(float, row.groups())
    assert student == distilled < teacher
    figures = tmp_path / "runs" / "demo" / "distilled-seed0" / "figures"
    for name in ("importance.png", "detections.png"):
        with Image.open(figures / name) as picture:
            assert min(picture.size) >= 800
    weights = tmp_path / "runs" / "demo" / "distilled-seed0" / "checkpoints" / "last.safetensors"
    page = (tmp_path / "runs" / "demo" / "report" / "index.html").read_text()
    assert "report, for a browser: runs/demo/report/index.html" in first
    assert page.count("data:image/png;base64,") == 2
    assert 'id="scene-data"' in page
    before = weights.stat().st_mtime_ns

    second = demo(tmp_path)
    assert second.count("already done") == 3
    assert "nothing to do" in second
    assert weights.stat().st_mtime_ns == before
