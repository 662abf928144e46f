"""Memory does not grow during 2,000 training steps and 2,000 detections.

About the bound: MinkowskiEngine 0.5.4 leaks about 100 bytes in each call that returns a key of a coordinate map. A
training step or a detection makes about ten of these calls, which gives about 2 MB in 2,000. Fragmentation of the
allocator adds to that. A leak of one tensor of the tiny network per step would be 20 MB or more.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_kitti import settings, write_data

MOST = 8.0  # largest growth [MB] after the 500th; before that, caches fill
IDS = [f"{i:06d}" for i in range(20)]


@pytest.mark.parametrize("kind", ["train", "detect"])
def test_memory_does_not_grow(kind: str, tmp_path: Path) -> None:
    write_data(tmp_path / "kitti", IDS, ["000020"])
    listed = tmp_path / "kitti" / "ImageSets"
    tree = settings(tmp_path / "kitti", tmp_path / "runs")
    tree["train"] |= {"epochs": 100, "batch_size": 1, "validate_every": 0}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tree))
    assert len((listed / "train.txt").read_text().split()) * tree["train"]["epochs"] == 2000
    script = Path(__file__).with_name("growing.py")
    done = subprocess.run([sys.executable, script, kind, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    held = json.loads(done.stdout.splitlines()[-1])
    assert len(held) == 20
    print(f"{kind}: {held[0]:.0f} MB after 100, {held[4]:.1f} after 500, {held[-1]:.1f} after 2,000")
    assert max(held[15:]) - min(held[4:8]) < MOST, held
