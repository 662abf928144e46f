"""Training goes on from a detector of another sensor: fewer points, and another height above the ground."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_kitti import settings, write_data

from mink_pd.config import Config, load_config
from mink_pd.data import open_dataset
from mink_pd.train.start import train_detector

HIGHER = 0.37  # [m]


def as_another_sensor(root: Path) -> None:
    """Every second point of each cloud, and clouds and labels as from a sensor mounted higher."""
    for path in (root / "training" / "velodyne").iterdir():
        points = np.fromfile(path, np.float32).reshape(-1, 4)[::2]
        points[:, 2] -= HIGHER
        points.tofile(path)
    for path in (root / "training" / "label_2").iterdir():
        rows = [line.split() for line in path.read_text().splitlines()]
        for row in rows:
            row[12] = str(float(row[12]) + HIGHER)  # y of the bottom in the camera's frame, downwards
        path.write_text("".join(" ".join(row) + "\n" for row in rows))


def losses(config: Config) -> list[float]:
    """The mean training loss of each epoch."""
    run = train_detector(config)
    rows = map(json.loads, run.metrics.read_text().splitlines())
    return [row["loss"] for row in rows if row["split"] == "train"]


def test_few_frames_go_further_from_a_detector_of_another_sensor(tmp_path: Path) -> None:
    frames = [f"{i:06d}" for i in range(12)]
    write_data(tmp_path / "first", frames[:8], frames[8:9])
    write_data(tmp_path / "second", frames[9:11], frames[11:])
    as_another_sensor(tmp_path / "second")
    tree = settings(tmp_path / "first", tmp_path / "runs")
    tree["train"] |= {"epochs": 30, "validate_every": 0, "learning_rate": 0.01}
    tree["data"]["augment"] = {"enabled": False}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    heights = [open_dataset(load_config(path, [f"data.root={tmp_path / name}"]).data, "val")[0].boxes[:, 2].mean()
               for name in ("first", "second")]  # fmt: skip
    assert heights[0] - heights[1] == pytest.approx(HIGHER, abs=1e-3)
    learnt = losses(load_config(path, ["name=first"]))
    assert learnt[-1] < 0.5 * learnt[0]
    other = [f"data.root={tmp_path / 'second'}", "train.epochs=4"]
    scratch = losses(load_config(path, [*other, "name=scratch"]))
    started = losses(load_config(path, [*other, "name=started", f"train.initial={tmp_path / 'runs' / 'first'}"]))
    assert started[0] < 0.8 * scratch[0]
    assert started[-1] < 0.8 * scratch[-1]
