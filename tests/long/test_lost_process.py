"""Two processes train together and one of them is killed. The other reports it in one line, and --resume continues."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from tiny_kitti import settings, write_data

TRAIN, VAL = [f"{i:06d}" for i in range(8)], ["000008", "000009"]
TWO = ("name=both", "train.devices=2", "train.sync_norm=true")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_data(tmp_path / "kitti", TRAIN, VAL)
    tree = settings(tmp_path / "kitti", tmp_path / "runs")
    tree["train"] |= {"epochs": 200, "validate_every": 0}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path


def start(folder: Path, *words: str) -> list[subprocess.Popen]:
    """Both processes of a training, started as SLURM does, without a parent that watches them."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "mink_pd", "train", str(folder / "tiny.yaml"), *TWO, *words]
    return [
        subprocess.Popen(
            command,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


@pytest.mark.parametrize("dies", [0, 1])
def test_the_survivor_says_so_and_the_run_can_be_resumed(folder: Path, dies: int) -> None:
    processes = start(folder)
    metrics = folder / "runs" / "both" / "metrics.jsonl"
    until = time.monotonic() + 240
    while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
        assert time.monotonic() < until
        assert all(process.poll() is None for process in processes), processes[0].communicate()
        time.sleep(0.02)
    processes[dies].kill()
    survivor = processes[1 - dies]
    _, said = survivor.communicate(timeout=120)
    assert processes[dies].wait() == -signal.SIGKILL
    for process in processes:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    assert survivor.returncode == 2, said
    lines = [line for line in said.splitlines() if line.strip()]
    assert len(lines) == 1, said
    assert lines[0].startswith(f"error: {folder / 'runs' / 'both'}: another process of this training has ended;")
    before = metrics.read_text().splitlines()
    again = start(folder, "--resume", f"train.epochs={200}")
    until = time.monotonic() + 240
    while metrics.read_text().count("\n") < len(before) + 2:
        assert time.monotonic() < until
        assert all(process.poll() is None for process in again), again[0].communicate()
        time.sleep(0.05)
    for process in again:
        process.kill()
        process.communicate()
    epochs = [line for line in metrics.read_text().splitlines() if line.endswith("}")]
    assert len(epochs) > len(before) - 1
    assert load_file(folder / "runs" / "both" / "checkpoints" / "last.safetensors")
