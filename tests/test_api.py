"""The Python interface: the lines of docs/python.md run, and arrays are checked before they reach the network."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_kitti import settings, write_data

import mink_pd
from mink_pd.config import Config, load_config
from mink_pd.data.points import read_points
from mink_pd.errors import CheckpointError, ConfigError, DataError
from mink_pd.models import build_detector
from mink_pd.models.checkpoint import save_weights

DOC = Path(__file__).resolve().parents[1] / "docs" / "python.md"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with tiny data; a file that has the name of the shipped configuration takes its place."""
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data" / "simulated", ("000000", "000001"), ("000002",))
    tiny = settings(tmp_path / "data" / "simulated", tmp_path / "runs")
    (tmp_path / "pointpillars_simulator").write_text(yaml.safe_dump(tiny))
    return tmp_path


def test_the_lines_of_the_documentation_run(project: Path, capsys: pytest.CaptureFixture) -> None:
    detect, train = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    threads = torch.get_num_threads()
    exec(train, {"__name__": "__main__"})
    assert {path.name for path in (project / "runs").iterdir() if path.is_dir()} == {"teacher", "distilled"}
    assert "['Car', 'Pedestrian', 'Cyclist']" in capsys.readouterr().out
    exec(detect, {"__name__": "__main__"})
    torch.set_num_threads(threads)


@pytest.fixture
def detector(tmp_path: Path) -> mink_pd.PointDetector:
    """Untrained, so that it finds something everywhere."""
    config = Config.model_validate(
        {"model": {"name": "pointpillars", "voxel_size": [0.4, 0.4, 4.0], "pillar_channels": 8, "layers": [1],
                   "strides": [1], "channels": [8], "neck_channels": 8, "nms": {"score": 0.0}}}
    )  # fmt: skip
    torch.manual_seed(0)
    save_weights(tmp_path / "x.safetensors", build_detector(config).state_dict(), config, epoch=0)
    return mink_pd.load_detector(tmp_path / "x.safetensors")


def test_an_array_gives_what_its_file_gives(detector: mink_pd.PointDetector, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform([0, -30, -2, 0], [60, 30, 1, 1], (3000, 4)).astype(np.float32)
    points.tofile(tmp_path / "a.bin")
    found = detector.detect_points(read_points(tmp_path / "a.bin"))
    assert found.boxes.shape == (len(found), 7)
    assert found.boxes.dtype == np.float32
    assert len(found.names) == len(found.scores) == len(found) > 0
    assert set(found.names) <= set(detector.classes)
    with_gaps = np.insert(points.astype(np.float64), [5, 70, 2000], np.nan, axis=0)
    with_gaps = np.insert(with_gaps, 9, 0, axis=0)  # no return
    for same in (points, with_gaps, np.hstack([points, points])):
        other = detector.detect_points(same)
        assert np.array_equal(other.boxes, found.boxes)
        assert np.array_equal(other.scores, found.scores)
    assert not np.array_equal(detector.detect_points(points[:2000]).boxes, found.boxes)
    dark = points * [1, 1, 1, 0]
    assert np.array_equal(detector.detect_points(points[:, :3]).boxes, detector.detect_points(dark).boxes)


def test_a_time_lag_reaches_the_network_beside_points_that_are_left_out(tmp_path: Path) -> None:
    overrides = ["model.compression=16", "model.nms.score=0"]
    config = load_config("pointpillars_nuscenes_simulator", overrides)
    torch.manual_seed(0)
    save_weights(tmp_path / "n.safetensors", build_detector(config).state_dict(), config, epoch=0)
    detector = mink_pd.load_detector(tmp_path / "n.safetensors")
    points = np.random.default_rng(0).uniform([-30, -30, -2, 0, 0], [30, 30, 1, 1, 0.45], (3000, 5))
    found = detector.detect_points(points)
    assert found.velocities is not None
    assert found.velocities.shape == (len(found), 2)
    assert np.array_equal(detector.detect_points(np.insert(points, [3, 50], np.nan, axis=0)).scores, found.scores)
    assert not np.array_equal(detector.detect_points(points[:, :4]).scores, found.scores)


def test_no_points_no_boxes(detector: mink_pd.PointDetector) -> None:
    assert len(detector.detect_points(np.zeros((0, 4), np.float32))) == 0
    assert len(detector.detect_points(np.full((9, 4), [900, 0, 0, 0.5]))) == 0


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros(4), r"shape \(P, 3 or more\)"),
        (np.zeros((5, 2)), r"shape \(P, 3 or more\)"),
        (np.zeros((1, 5, 4)), r"shape \(P, 3 or more\)"),
        (np.array([["a", "b", "c", "d"]]), "numbers"),
        (np.full((5, 4), np.nan), "none of its 5 points"),
        (np.array([[1.0, 2.0, 0.0, 255.0]]), r"points: its intensities go up to 255"),
        (np.array([[1.0, 2.0, 0.0, -0.5]]), r"intensities below 0 \(-0\.5\)"),
    ],
)
def test_other_arrays_are_refused(detector: mink_pd.PointDetector, points: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        detector.detect_points(points)


def test_scores_and_missing_files(detector: mink_pd.PointDetector, tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform([0, -30, -2, 0], [60, 30, 1, 1], (3000, 4))
    scores = np.sort(detector.detect_points(points).scores)
    strict = mink_pd.load_detector(tmp_path / "x.safetensors", score=float(scores[len(scores) // 2]))
    assert 0 < len(strict.detect_points(points)) < len(scores)
    for wrong in (1.5, -0.1, float("nan"), "0.5"):
        with pytest.raises(ConfigError, match=r"score: .* is not a number from 0 to 1"):
            mink_pd.load_detector(tmp_path / "x.safetensors", score=wrong)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        mink_pd.load_detector(tmp_path / "y.safetensors")
    with pytest.raises(AttributeError, match="no attribute 'lod_detector'"):
        mink_pd.lod_detector  # noqa: B018
