"""Training on several sets of labelled frames: resuming, moved and changed frames."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from stopped_training import stopped_after
from tiny_kitti import settings, write_data

from mink_pd.config import Config, load_config
from mink_pd.data import open_training
from mink_pd.errors import ConfigError
from mink_pd.train.start import train_detector
from mink_pd.train.unlabelled import Unlabelled


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_data(tmp_path / "real", ["000000", "000001"], ["000002"])
    write_data(tmp_path / "street", ["000000", "000004", "000005"], [])
    tree = settings(tmp_path / "real", tmp_path / "runs")
    tree["data"] |= {"augment": {"ground_truth_sampling": {"Car": 4}}, "repeat": 2}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path


def config(folder: Path, street: str = "street", *overrides: str) -> Config:
    also = {"street": {"root": str(folder / street)}}
    return load_config(folder / "tiny.yaml", [f"data.also={json.dumps(also)}", *overrides])


def test_a_resumed_run_is_the_same_bit_for_bit(folder: Path) -> None:
    threads = torch.get_num_threads()
    whole = train_detector(config(folder, "street", "name=whole"))
    with stopped_after(1):
        train_detector(config(folder, "street", "name=parts"))
    with pytest.raises(ConfigError, match=r"started with data\.repeat=2, now 3"):
        train_detector(config(folder, "street", "name=parts", "data.repeat=3"), resume=True)
    with pytest.raises(ConfigError, match=r"started with data\.also\.street\.repeat=1, now 2"):
        train_detector(config(folder, "street", "name=parts", "data.also.street.repeat=2"), resume=True)
    (folder / "street").rename(folder / "moved")
    parts = train_detector(config(folder, "moved", "name=parts"), resume=True)
    torch.set_num_threads(threads)
    one, other = (load_file(run.weights("last")) for run in (whole, parts))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    (folder / "moved/training/label_2/000004.txt").write_text("")
    with pytest.raises(ConfigError, match="another data"):
        train_detector(config(folder, "moved", "name=parts", "data.workers=1"), resume=True)


def test_frames_of_every_set_are_labelled_ones(folder: Path) -> None:
    """So they are no unlabelled frames, and scores for pseudo-labels are chosen on all of them."""
    given = f"distill.unlabelled.paths={json.dumps([str(folder / 'street/training/velodyne')])}"
    (folder / "street/training/velodyne/000009.bin").write_bytes(
        (folder / "street/training/velodyne/000004.bin").read_bytes()[16:]  # a copy would be left out
    )
    unlabelled = Unlabelled(config(folder, "street", given))
    assert unlabelled.frames.ids == ["000009"]
    assert unlabelled.frames.left_out == 3
    assert unlabelled.held_out().ids == open_training(config(folder).data).ids
