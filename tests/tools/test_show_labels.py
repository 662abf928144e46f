"""viz/show_labels.py."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from labelled_street import street, write_street
from tiny_kitti import write_data

from mink_pd.data.layouts import config_of_folder, splits_of

Tool = Callable[..., CompletedProcess]


def test_a_page_of_a_data_set(data: Path, tool: Tool, tmp_path: Path) -> None:
    done = tool("show_labels.py", data, "--save", tmp_path / "labels.html", "--frames", "3")
    assert done.returncode == 0, done.stderr
    assert "6 labelled objects in 3 frames" in done.stdout
    assert 'data-frame="2"' in (tmp_path / "labels.html").read_text()
    refused = tool("show_labels.py", tmp_path, "--save", tmp_path / "other.html")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "other.html").exists()


def test_without_a_display_a_page_is_advised(
    data: Path, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert "save the frames as a page instead with --save FILE.html" in tool("show_labels.py", data).stderr
    refused = tool("show_labels.py", data, "--save", tmp_path / "labels.png")
    assert refused.returncode == 2
    assert "the page is HTML" in refused.stderr


def test_what_looks_wrong_is_said_on_the_page_and_in_the_terminal(tool: Tool, tmp_path: Path) -> None:
    frames = [street(seed) for seed in range(8)]
    for frame in frames:
        frame.boxes[:, 6] += np.float32(np.pi / 2)
    root = write_street(tmp_path / "own", frames)
    done = tool("show_labels.py", root, "--save", tmp_path / "labels.html")
    assert done.returncode == 0, done.stderr
    assert "warning: Car: the points in and near the boxes say that yaw is a quarter turn off" in done.stdout
    assert "<li>Car: the points in and near the boxes say that yaw" in (tmp_path / "labels.html").read_text()


def test_layouts_are_told_apart(tool: Tool, nuscenes_root: Path, tmp_path: Path) -> None:
    write_data(tmp_path / "kitti", ["000000", "000001"], [])
    assert config_of_folder(tmp_path / "kitti").kind == "kitti"
    assert config_of_folder(write_street(tmp_path / "own", [street(0)])).kind == "clouds"
    config = config_of_folder(nuscenes_root)
    assert (config.kind, *splits_of(config)) == ("nuscenes", "train", "val")
    assert splits_of(config_of_folder(nuscenes_root, version="v1.0-mini")) == ("mini_train", "mini_val")
    done = tool("show_labels.py", nuscenes_root, "--save", tmp_path / "labels.html", "--frames", "2")
    assert done.returncode == 0, done.stderr
    assert "labelled objects in 2 frames" in done.stdout
