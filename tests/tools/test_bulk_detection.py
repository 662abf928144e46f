"""tools/detect.py in several processes, some of which are killed, and called again."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml
from dying_detector import ROOT
from tiny_kitti import write_data

from mink_pd.detect.record import INPUTS
from mink_pd.files import PART
from mink_pd.sparse import multiplies_bf16

Tool = Callable[..., CompletedProcess]
IDS = [f"{i:06d}" for i in range(9)]


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clouds")
    write_data(root, IDS, [])
    for frame in IDS[:4]:
        (root / "training" / "calib" / f"{frame}.txt").unlink()  # these give .json
    return root


def detect(rank: int, at: int, *arguments: object) -> CompletedProcess:
    """Process ``rank`` of two, killed while it writes its file number ``at`` (0: never)."""
    environment = os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tests" / "dying_detector.py"), str(at), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)


def written(out: Path) -> dict[str, bytes]:
    """The detections and their settings; the record of inputs has an order of its own."""
    return {file.name: file.read_bytes() for file in out.iterdir() if file.name != INPUTS}


def test_no_frame_is_lost_with_a_process_that_dies(teacher: Path, clouds: Path, tool: Tool, tmp_path: Path) -> None:
    alone = tool("detect.py", teacher, clouds, "--out", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    expected = written(tmp_path / "alone")
    assert sorted(expected) == sorted([f"{i}.json" for i in IDS[:4]] + [f"{i}.txt" for i in IDS[4:]] + ["detect.yaml"])

    out = tmp_path / "out"
    died = detect(1, 3, teacher, clouds, "--out", out)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert (died.stdout, died.stderr) == ("", "")
    done = [name for name in written(out) if name != "detect.yaml"]
    assert len(done) == 2
    (out / f".abcdefgh{PART}").write_text("what it was writing")
    times = {name: (out / name).stat().st_mtime_ns for name in done}

    survivor = detect(0, 0, teacher, clouds, "--out", out)
    assert survivor.returncode == 0, survivor.stderr
    assert written(out) == expected  # byte for byte, each once
    assert all((out / name).stat().st_mtime_ns == time for name, time in times.items())
    assert survivor.stdout.replace(str(out), "") == alone.stdout.replace(str(tmp_path / "alone"), "")


def test_other_settings_do_not_mix(teacher: Path, clouds: Path, tool: Tool, tmp_path: Path) -> None:
    cloud, out = clouds / "training" / "velodyne" / "000000.bin", tmp_path / "out"
    assert tool("detect.py", teacher, cloud, "--out", out, "--score", 0.3).returncode == 0
    before = written(out)
    refused = tool("detect.py", teacher, cloud, "--out", out, "--score", 0.2)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "detections of score 0.3, now 0.2; --force" in refused.stderr
    assert written(out) == before
    again = tool("detect.py", teacher, cloud, "--out", out, "--score", 0.3)
    assert "1 of them found earlier" in again.stdout
    assert tool("detect.py", teacher, cloud, "--out", out, "--score", 0.2, "--force").returncode == 0
    assert yaml.safe_load((out / "detect.yaml").read_text())["score"] == 0.2


def test_bfloat16_is_another_setting_and_an_error_where_it_is_not_faster(
    teacher: Path, clouds: Path, tool: Tool, tmp_path: Path
) -> None:
    cloud, out = clouds / "training" / "velodyne" / "000000.bin", tmp_path / "out"
    asked = tool("detect.py", teacher, cloud, "--out", out, "--bf16")
    if not multiplies_bf16():
        assert asked.returncode == 2
        assert asked.stderr.count("\n") == 1
        assert "--bf16 needs a CPU with AVX512_BF16" in asked.stderr
        assert not out.exists()
        return
    assert asked.returncode == 0
    assert yaml.safe_load((out / "detect.yaml").read_text())["bf16"] is True
    refused = tool("detect.py", teacher, cloud, "--out", out)
    assert refused.returncode == 2
    assert "detections of bf16 True, now False" in refused.stderr


def test_detections_of_unknown_origin_are_left_alone(teacher: Path, clouds: Path, tool: Tool, tmp_path: Path) -> None:
    cloud, out = clouds / "training" / "velodyne" / "000000.bin", tmp_path / "out"
    out.mkdir()
    (out / "000000.json").write_text("{}")
    refused = tool("detect.py", teacher, cloud, "--out", out)
    assert refused.returncode == 2
    assert "unknown origin" in refused.stderr
    assert (out / "000000.json").read_text() == "{}"
    labels = clouds / "training" / "label_2"
    before = {file.name: file.read_bytes() for file in labels.iterdir()}
    for force in ((), ("--force",)):
        refused = tool("detect.py", teacher, clouds, "--out", labels, *force)
        assert refused.returncode == 2
        assert "label_2/000000.txt: exists and is of unknown origin" in refused.stderr
        assert {file.name: file.read_bytes() for file in labels.iterdir()} == before


def test_another_cloud_of_the_same_name_does_not_pass_for_it(
    teacher: Path, clouds: Path, tool: Tool, tmp_path: Path
) -> None:
    own, others = clouds / "training" / "velodyne" / "000000.bin", tmp_path / "others" / "000000.bin"
    others.parent.mkdir()
    shutil.copy(clouds / "training" / "velodyne" / "000001.bin", others)
    out = tmp_path / "out"
    assert tool("detect.py", teacher, own, "--out", out).returncode == 0
    before = (out / "000000.json").read_bytes()
    refused = tool("detect.py", teacher, others, "--out", out)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert f"holds detections of 000000 in another cloud of this name {own}; --force replaces" in refused.stderr
    assert (out / "000000.json").read_bytes() == before
    moved = tmp_path / "moved" / "000000.bin"
    moved.parent.mkdir()
    shutil.copy(own, moved)  # the same cloud elsewhere
    assert "1 of them found earlier" in tool("detect.py", teacher, moved, "--out", out).stdout
    cloud = bytearray(moved.read_bytes())
    cloud[-1] ^= 1  # one bit, the same size
    moved.write_bytes(cloud)
    refused = tool("detect.py", teacher, moved, "--out", out)
    assert "holds detections of 000000 in another cloud of this name" in refused.stderr
    assert tool("detect.py", teacher, others, "--out", out, "--force").returncode == 0
    assert tool("detect.py", teacher, others, "--out", tmp_path / "fresh").returncode == 0
    assert (out / "000000.json").read_bytes() == (tmp_path / "fresh" / "000000.json").read_bytes() != before
    os.utime(others)
    assert "1 of them found earlier" in tool("detect.py", teacher, others, "--out", out).stdout
    changed = bytearray(others.read_bytes())
    changed[-1] ^= 1
    others.write_bytes(changed)
    refused = tool("detect.py", teacher, others, "--out", out)
    assert f"in the cloud {others} before it was changed" in refused.stderr


def test_another_calibration_is_another_input(teacher: Path, clouds: Path, tool: Tool, tmp_path: Path) -> None:
    root, out = tmp_path / "training", tmp_path / "out"
    shutil.copytree(clouds / "training", root)
    cloud, calib = root / "velodyne" / "000005.bin", root / "calib" / "000005.txt"
    assert tool("detect.py", teacher, cloud, "--out", out).returncode == 0
    calib.write_text(calib.read_text().replace("7.215", "7.315"))
    refused = tool("detect.py", teacher, cloud, "--out", out)
    assert refused.returncode == 2
    assert "before it was changed" in refused.stderr


def test_force_is_for_one_process(
    teacher: Path, clouds: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused = tool("detect.py", teacher, clouds, "--out", tmp_path / "out", "--force")
    assert refused.returncode == 2
    assert "--force is for a single process" in refused.stderr
