"""Lists of frames, and the order of frames by name."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from cloud_folders import write_folder

from mink_pd.config.points import PointsConfig
from mink_pd.data.datasets.cloud_folder import CloudFolder, CloudsConfig
from mink_pd.data.frame_lists import read_frame_list
from mink_pd.detect.clouds import PointFiles
from mink_pd.errors import DataError

NAMES = ["2", "10", "scan", "scan 1", "scan 9b", "scan 10a"]


def folder(root: Path, names: Iterable[str]) -> Path:
    """Clouds of these names, labelled as empty."""
    frame: tuple[np.ndarray, np.ndarray, list[str]] = (np.ones((5, 4)), np.zeros((0, 7)), [])
    return write_folder(root, dict.fromkeys(names, frame), intensity=1, axes="x_forward", classes=["Car"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return folder(tmp_path / "own", NAMES)


def test_numbers_in_names_count_wherever_clouds_are_read_from(root: Path) -> None:
    assert CloudFolder(CloudsConfig(root=root), "all").ids == NAMES
    assert PointFiles([root / "points"], None, False, settings=PointsConfig()).ids == NAMES


def test_drawn_blocks_are_of_frames_that_follow_each_other(tmp_path: Path) -> None:
    root = folder(tmp_path / "own", map(str, range(40)))
    for seed in range(3):
        drawn = list(map(int, CloudFolder(CloudsConfig(root=root, split_seed=seed), "val").ids))
        assert len(drawn) == 8
        assert [number % 4 for number in drawn] == [0, 1, 2, 3] * 2
        assert drawn[0] // 4 == drawn[3] // 4


def test_a_line_of_a_list_is_one_name(root: Path) -> None:
    (root / "splits").mkdir()
    path = root / "splits" / "train.txt"
    path.write_text("scan 1\r\n  scan 9b \n\n2\n")
    assert read_frame_list(path) == ["scan 1", "scan 9b", "2"]
    assert CloudFolder(CloudsConfig(root=root), "train").ids == ["scan 1", "scan 9b", "2"]
    path.write_text("scan 1\nscan 1\n")
    with pytest.raises(DataError, match=r"train\.txt: frame scan 1 is listed twice"):
        read_frame_list(path)
