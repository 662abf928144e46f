"""Layouts of sensors without a camera: KITTI's limits on image boxes do not apply to them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_kitti import CALIBRATION, write_data

from mink_pd.config import Config, EvaluateConfig
from mink_pd.data.datasets.kitti_dataset import Kitti, KittiConfig
from mink_pd.data.frame import Frame
from mink_pd.data.kitti.calibration import write_calibration
from mink_pd.data.kitti.labels import read_objects, write_objects
from mink_pd.data.objects import Objects
from mink_pd.detect.predict import FrameDetections
from mink_pd.evaluate.camera_fit import detections_fit_labels, labels_fit_camera
from mink_pd.evaluate.candidates import collect
from mink_pd.evaluate.scorers import make_scorer
from mink_pd.evaluate.scorers.kitti import KittiScorer

IDS = tuple(f"{i:06d}" for i in range(8))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_data(tmp_path, IDS[:4], IDS[4:])
    return tmp_path


def rewrite_labels(root: Path, change: Callable[[Objects], Objects]) -> None:
    for path in (root / "training" / "label_2").iterdir():
        write_objects(path, change(read_objects(path)))


def placeholder(rows: Objects) -> Objects:
    return replace(rows, bbox=np.tile([0.0, 0, 50, 50], (len(rows), 1)))


def empty_boxes(rows: Objects) -> Objects:
    return replace(rows, bbox=np.zeros((len(rows), 4)))


def one_behind(rows: Objects) -> Objects:
    return replace(rows, location=rows.location * [[1, 1, 1], [1, 1, -1]])


def test_real_frames_fit_their_camera(shared: Callable[[str], Path]) -> None:
    assert labels_fit_camera(Kitti(shared("kitti_real"), "all"))


def test_true_projections_fit(root: Path) -> None:
    assert labels_fit_camera(Kitti(root, "all"))
    assert labels_fit_camera(Kitti(root, "all", max_frames=1))


@pytest.mark.parametrize("change", [placeholder, empty_boxes, one_behind])
def test_invented_image_boxes_do_not_fit(root: Path, change: Callable[[Objects], Objects]) -> None:
    rewrite_labels(root, change)
    assert not labels_fit_camera(Kitti(root, "val"))


def test_an_invented_camera_does_not_fit(root: Path) -> None:
    for id in IDS:
        path = root / "training" / "calib" / f"{id}.txt"
        write_calibration(path, replace(CALIBRATION, p2=np.eye(4)[:3]))
    assert not labels_fit_camera(Kitti(root, "val"))


def perfect(frame: Frame) -> FrameDetections:
    """The frame's own boxes, with scores that fall from frame to frame."""
    return FrameDetections(frame.boxes, frame.names, np.full(len(frame.boxes), 1 - int(frame.id) / 100, np.float32))


def scores_of(root: Path, **evaluate: bool) -> tuple[KittiScorer, dict[str, float], dict]:
    config = Config(data=KittiConfig(root=root, classes=["Car"], camera_view=False))
    config = config.model_copy(update={"evaluate": EvaluateConfig(**evaluate)})
    dataset = Kitti(root, "all", camera_view=False)
    scorer = make_scorer(dataset, config)
    assert isinstance(scorer, KittiScorer)
    kept = {frame.id: scorer.keep(frame, perfect(frame)) for frame in (dataset[i] for i in range(len(dataset)))}
    return scorer, scorer.score(kept), kept


@pytest.mark.parametrize("change", [placeholder, empty_boxes, one_behind])
def test_objects_all_around_are_scored_in_space(root: Path, change: Callable[[Objects], Objects]) -> None:
    rewrite_labels(root, change)
    scorer, figures, kept = scores_of(root)
    # Sixteen labels, all found, make sixteen score cuts; the first lies at recall 0, which R40 leaves out.
    expected = dict.fromkeys(["mAP_bev", "mAP_3d"], 100 * 15 / 40)
    expected |= {f"Car/{m}/{level}": 37.5 for m in ("bev", "3d") for level in ("easy", "moderate", "hard")}
    assert figures == pytest.approx(expected)
    assert "evaluate.image_rules" in scorer.note
    assert all(len(found) == 2 for _, found in kept.values())


def test_with_a_camera_what_it_does_not_see_is_left_out_as_the_benchmark_does(root: Path) -> None:
    scorer, figures, _ = scores_of(root)
    assert scorer.note == ""
    assert figures["Car/bbox/moderate"] == pytest.approx(37.5)
    rewrite_labels(root, one_behind)
    _, figures, kept = scores_of(root, image_rules=True)
    assert figures["Car/3d/moderate"] < 37.5
    assert all(len(found) == 1 for _, found in kept.values())


def test_detections_tell_without_a_calibration(root: Path) -> None:
    _, _, kept = scores_of(root)
    labels = {id: pair[0] for id, pair in kept.items()}
    found = {id: pair[1] for id, pair in kept.items()}
    assert detections_fit_labels(collect(labels, found))
    assert detections_fit_labels(collect(labels, {id: rows[:0] for id, rows in found.items()}))
    for change in (placeholder, empty_boxes):
        assert not detections_fit_labels(collect({id: change(rows) for id, rows in labels.items()}, found))
