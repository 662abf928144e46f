"""A tiny data set in KITTI's layout, its configuration, and a way to call a tool."""

import contextlib
import io
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
import yaml

from mink_pd.data.calibration import Calibration
from mink_pd.data.kitti import write_calibration
from mink_pd.data.labels import write_objects
from mink_pd.data.objects import Objects

ROOT = Path(__file__).resolve().parents[2]
TRAIN, VAL = ("000000", "000001", "000002", "000003"), ("000004", "000005")
CALIBRATION = Calibration(
    p2=np.array([[721.5, 0, 609.6, 0], [0, 721.5, 172.9, 0], [0, 0, 1, 0]]),
    r0_rect=np.eye(3),
    velo_to_cam=np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]]),
)
TEACHER = (
    "name=teacher", "train.epochs=60", "train.validate_every=30", "train.learning_rate=0.01",
    "data.augment.enabled=false", "data.val_split=train",
)  # fmt: skip
Tool = Callable[..., CompletedProcess]


def write_frame(folder: Path, frame: str) -> None:
    """A ground plane and two cars as clusters of points, one facing ahead, one to the left."""
    rng = np.random.default_rng(int(frame))
    ground = rng.uniform([3, -12, -1.75, 0], [30, 12, -1.65, 1], (2000, 4))
    place = np.stack([rng.uniform(8, 25, 2), np.array([-5, 5]) + rng.uniform(-2, 2, 2)], axis=1)
    cars = [rng.uniform([x - 2, y - 0.8, -1.6, 0], [x + 2, y + 0.8, -0.2, 1], (150, 4)) for x, y in place]
    np.concatenate([ground, *cars]).astype(np.float32).tofile(folder / "velodyne" / f"{frame}.bin")
    write_calibration(folder / "calib" / f"{frame}.txt", CALIBRATION)
    location = np.stack([-place[:, 1], np.full(2, 1.7), place[:, 0]], axis=1)
    bbox = np.tile([500.0, 150, 560, 210], (2, 1))
    zero, dimensions = np.zeros(2), np.tile([1.5, 1.6, 4.0], (2, 1))
    names = np.array(["Car", "Car"])
    objects = Objects(names, zero, zero.astype(int), zero, bbox, dimensions, location, zero - np.pi / 2)
    write_objects(folder / "label_2" / f"{frame}.txt", objects)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kitti")
    for folder in ("training/velodyne", "training/calib", "training/label_2", "ImageSets"):
        (root / folder).mkdir(parents=True)
    for frame in (*TRAIN, *VAL):
        write_frame(root / "training", frame)
    (root / "ImageSets" / "train.txt").write_text("\n".join(TRAIN))
    (root / "ImageSets" / "val.txt").write_text("\n".join(VAL))
    return root


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A configuration that trains in seconds; runs go beside it."""
    folder = tmp_path_factory.mktemp("project")
    small = {"pillar_channels": 16, "channels": [16, 16, 32], "layers": [1, 1, 1], "neck_channels": 16}
    settings = {
        "runs": str(folder / "runs"),
        "data": {"root": str(data), "range": [0, -12.8, -3, 32, 12.8, 1], "workers": 0},
        "model": {"voxel_size": [0.4, 0.4, 4.0], **small, "nms": {"score": 0.01}},
        "train": {"epochs": 2, "batch_size": 2, "validate_every": 1, "threads": 1, "accelerator": "cpu"},
        "distill": {"pointdistiller": {"rows": 16, "neighbours": 4}},
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="session")
def tool() -> Tool:
    """``tool("train.py", ...)`` runs a tool in this process: its imports take longer than its work."""

    def call(name: str, *arguments: object) -> CompletedProcess:
        before, threads = sys.argv, torch.get_num_threads()
        out, error, code = io.StringIO(), io.StringIO(), 0
        sys.argv = [name, *map(str, arguments)]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
                runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.argv = before
            torch.set_num_threads(threads)  # the tiny configuration sets one for the whole process
        return CompletedProcess(sys.argv, code, out.getvalue(), error.getvalue())

    return call


@pytest.fixture(scope="session")
def teacher_settings() -> tuple[str, ...]:
    return TEACHER


@pytest.fixture(scope="session")
def teacher(config: Path, tool: Tool) -> Path:
    """A run folder of a detector that has learnt its four frames well enough to have an AP above 0."""
    result = tool("train.py", config, *TEACHER)
    assert result.returncode == 0, result.stderr
    return config.parent / "runs" / "teacher"
