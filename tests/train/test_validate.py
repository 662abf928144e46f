"""Validation: labels with their DontCare regions, figures by name, shares of several processes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from stand_in import MeanDetector, Memory

from mink_pd.config import Config
from mink_pd.data.datasets.kitti_dataset import KittiConfig
from mink_pd.data.frame import Frame
from mink_pd.data.kitti.calibration import Calibration
from mink_pd.data.objects import Objects
from mink_pd.detect.predict import detect_batches, detect_frame, write_results
from mink_pd.errors import ConfigError, DataError
from mink_pd.evaluate.rules import thresholds
from mink_pd.evaluate.scorers import check_metric
from mink_pd.evaluate.scorers.kitti import KittiScorer, kitti_figures, labels_of
from mink_pd.train.validate import validate


def rows(*names: str) -> Objects:
    n = len(names)
    box = np.tile([100.0, 100, 200, 200], (n, 1))
    size, place = np.tile([1.5, 1.6, 4.0], (n, 1)), np.tile([0.0, 1.7, 15.0], (n, 1))
    zero = np.zeros(n)
    return Objects(np.array(names, dtype="<U16"), zero, zero.astype(int), zero, box, size, place, zero)


def test_labels_hold_dont_care_regions() -> None:
    frame = Frame("a", np.zeros((0, 4), np.float32), objects=rows("Car", "Van"), dont_care=rows("DontCare"))
    joined = labels_of(frame)
    assert joined.names.tolist() == ["Car", "Van", "DontCare"]
    assert joined.bbox.shape == (3, 4)
    with pytest.raises(DataError, match="frame a"):
        labels_of(Frame("a", np.zeros((0, 4), np.float32)))


def test_figures_by_name() -> None:
    figures: dict = {
        "Car": {m: {"R40": [90.0, 80.0, 70.0], "R11": [1.0, 1.0, 1.0]} for m in ("bbox", "aos", "bev", "3d")},
        "Cyclist": {m: {"R40": [None, 40.0, None], "R11": [None] * 3} for m in ("bbox", "aos", "bev", "3d")},
    }
    logged = kitti_figures(figures)
    assert logged["mAP_3d"] == pytest.approx(60)
    assert logged["Car/bev/easy"] == 90
    assert "Cyclist/3d/easy" not in logged
    for name in logged:
        check_metric(name, Config())
    with pytest.raises(ConfigError, match="mAP3d"):
        check_metric("mAP3d", Config())


def test_figures_are_of_the_detectors_classes() -> None:
    config = Config().model_copy(update={"data": KittiConfig(classes=["Forklift"])})
    check_metric("Forklift/3d/easy", config)
    with pytest.raises(ConfigError, match=r"no figure called 'Car/3d/easy'; write .*data\.classes"):
        check_metric("Car/3d/easy", config)
    kept = {"a": (rows("Car", "Pedestrian"), rows("Car")[:0])}
    assert set(KittiScorer(thresholds(["Car"])).score(kept)) <= KittiScorer.figures(["Car"])
    with pytest.raises(ValueError, match=r"evaluate\.min_iou\.Van: not in data\.classes"):
        Config.model_validate({"evaluate": {"min_iou": {"Van": 0.5}}})


def frames_with_labels() -> Memory:
    memory = Memory(5, 2, shuffle=False)
    p2 = np.array([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]])
    for frame in memory.frames:
        frame.calibration = Calibration(p2, np.eye(3), np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0]]))
        frame.image_size = (1242, 375)
        frame.objects = rows("Car")
    return memory


def find_the_car() -> MeanDetector:
    """Always answers with the box of ``rows``."""
    detector = MeanDetector(Config())
    for parameter in detector.parameters():
        parameter.data.zero_()
    detector.layers[-1].bias.data[:] = torch.tensor([15, 0, -1.7 + 0.75, 4, 1.6, 1.5, -np.pi / 2])
    return detector


def test_a_perfect_detector_scores_as_such() -> None:
    memory = frames_with_labels()
    result = validate(find_the_car(), memory.epoch(0), KittiScorer(), Fabric(accelerator="cpu", devices=1))
    assert sorted(result.kept) == [frame.id for frame in memory.frames]
    assert result.kept["000000"][1].location[0] == pytest.approx([0, 1.7, 15], abs=1e-5)
    # Five labels give five score cuts; the first lies at recall 0, which R40 leaves out.
    assert result.metrics["Car/3d/moderate"] == pytest.approx(100 * 4 / 40)


def test_detecting_leaves_the_mode_as_it_was() -> None:
    memory = frames_with_labels()
    detector = find_the_car()
    for mode in (True, False):
        detector.train(mode)
        assert len(list(detect_batches(detector, memory.epoch(0)))) == 5
        assert detector.training is mode
    found = detect_frame(detector, memory.frames[0], Config())
    assert found.names.tolist() == ["Car"]


def test_results_hold_the_last_validation_only(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    found = rows("Car")
    found.score = np.ones(1)
    write_results(folder, {"000000": found, "000001": found[:0]})
    write_results(folder, {"000001": found, "000002": found})
    assert sorted(file.name for file in folder.iterdir()) == ["000001.txt", "000002.txt"]
    assert [file.name for file in tmp_path.iterdir()] == ["results"]
