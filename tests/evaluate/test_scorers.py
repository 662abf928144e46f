"""Scorers by name, the scorer of any classes, and its judgement of a frame."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_kitti import write_data

from mink_pd.boxes.geometry import points_in_boxes
from mink_pd.config import Config, EvaluateConfig
from mink_pd.data.datasets.kitti_dataset import Kitti
from mink_pd.data.frame import Frame
from mink_pd.detect.predict import FrameDetections
from mink_pd.errors import ConfigError, DataError
from mink_pd.evaluate.panel import FALSE_POSITIVE, MISSED, TRUE_POSITIVE
from mink_pd.evaluate.scorers import check_metric, headline, make_scorer, scorer_of
from mink_pd.evaluate.scorers.clouds import CloudsScorer
from mink_pd.registry import SCORERS

RANGE = (0.0, -20.0, -3.0, 40.0, 20.0, 3.0)


def config(**evaluate: object) -> Config:
    return Config().model_copy(update={"evaluate": EvaluateConfig.model_validate(evaluate)})


def frame() -> Frame:
    """Two forklifts of which one holds no point, one out of range, and a pallet."""
    boxes = np.array([[10, 0, 0, 4, 2, 2, 0], [20, 5, 0, 4, 2, 2, 0], [50, 0, 0, 4, 2, 2, 0], [30, -5, 0, 1, 1, 1, 0]])
    points = np.concatenate([np.random.default_rng(0).normal(boxes[i, :3], 0.1, (8, 3)) for i in (0, 2, 3)])
    points = np.concatenate([points, np.zeros((len(points), 1))], axis=1).astype(np.float32)
    return Frame("a", points, boxes.astype(np.float32), np.array(["forklift"] * 3 + ["pallet"]))


def found(rows: list[int], scores: list[float], turn: float = 0.0) -> FrameDetections:
    own = frame()
    boxes = own.boxes[rows] + np.float32([0, 0, 0, 0, 0, 0, turn])
    return FrameDetections(boxes, own.names[rows], np.array(scores, np.float32))


def test_the_configuration_names_the_scorer() -> None:
    assert scorer_of(config()) is SCORERS["kitti"]
    assert scorer_of(config(scorer="clouds")) is CloudsScorer
    assert headline(config(scorer="clouds")) == {"mAP_bev": "mAP BEV", "mAP_3d": "mAP 3D"}
    check_metric("Car/3d/0-30m", config(scorer="clouds"))
    with pytest.raises(ConfigError, match="clouds has no figure called 'Car/3d/easy'"):
        check_metric("Car/3d/easy", config(scorer="clouds"))
    with pytest.raises(ConfigError, match=r"evaluate\.scorer: unknown name 'cluods'; choose from"):
        scorer_of(config(scorer="cluods"))


def test_a_scorer_of_another_data_set(tmp_path: Path) -> None:
    write_data(tmp_path, ["000000"], ["000001"])
    with pytest.raises(ConfigError, match="nuscenes scores nuScenes only; write clouds"):
        make_scorer(Kitti(tmp_path, "val"), config(scorer="nuscenes"))
    scorer = make_scorer(Kitti(tmp_path, "val"), config(scorer="clouds", min_points=3, min_iou={"Car": 0.4}))
    assert isinstance(scorer, CloudsScorer)
    assert (scorer.min_points, scorer.min_iou["Car"], scorer.min_iou["Cyclist"]) == (3, 0.4, 0.5)


def test_objects_without_points_or_out_of_range_do_not_count() -> None:
    scorer = CloudsScorer({"forklift": 0.5, "pallet": 0.5}, RANGE)
    kept = scorer.keep(frame(), found([0, 1, 2, 0], [0.9, 0.8, 0.7, 0.6]))
    inside = points_in_boxes(frame().points, frame().boxes).sum(axis=1)
    assert kept.points.tolist() == inside.tolist()
    assert kept.points[1] == kept.found_points[1] == 0
    assert kept.counted.tolist() == [True, False, False, True]
    figures = scorer.score({"a": kept})
    assert set(figures) <= scorer.figures(["forklift", "pallet"])
    assert (figures["forklift/3d"], figures["pallet/3d"], figures["mAP_3d"]) == pytest.approx((100, 0, 50))
    assert figures["forklift/recall"] == 1
    assert set(CloudsScorer.class_figures("forklift")) <= scorer.figures(["forklift"])
    assert set(CloudsScorer.main_class_figures("forklift")) <= set(CloudsScorer.class_figures("forklift"))
    everywhere = CloudsScorer({"forklift": 0.5}, min_points=0)
    assert everywhere.keep(frame(), found([0], [0.9])).counted.all()


def test_a_frame_is_judged_by_overlap() -> None:
    scorer = CloudsScorer({"forklift": 0.5, "pallet": 0.5}, RANGE)
    panel = scorer.judge(frame(), found([0, 1, 2, 0, 3], [0.9, 0.8, 0.7, 0.6, 0.2]), 0.3, "teacher")
    # Two fit labels that do not count; the second on one object is false; the pallet's score is too low.
    expected = [TRUE_POSITIVE, "not judged", "not judged", FALSE_POSITIVE, MISSED]
    assert panel.outcomes.tolist() == expected
    np.testing.assert_array_equal(panel.boxes[-1], frame().boxes[3])
    assert np.isnan(panel.scores[-1])
    assert panel.title == "teacher"
    other = CloudsScorer({"forklift": 0.5}, RANGE).judge(frame(), found([0], [0.9]), 0.3, "")
    assert other.outcomes.tolist() == [TRUE_POSITIVE]  # a pallet is nothing that this detector could miss


def test_results_are_files_in_the_lidar_frame(tmp_path: Path) -> None:
    scorer = CloudsScorer({"forklift": 0.5})
    kept = {"a": scorer.keep(frame(), found([0, 3], [0.9, 0.5])), "b": scorer.keep(frame(), found([], []))}
    scorer.write(tmp_path / "results", kept)
    rows = json.loads((tmp_path / "results" / "a.json").read_text())
    assert rows["names"] == ["forklift", "pallet"]
    assert rows["boxes"] == frame().boxes[[0, 3]].tolist()
    assert json.loads((tmp_path / "results" / "b.json").read_text())["boxes"] == []


def test_a_frame_without_labels() -> None:
    own = frame()
    own.labelled = False
    with pytest.raises(DataError, match="frame a: has no labels"):
        CloudsScorer({"forklift": 0.5}).keep(own, found([], []))


def test_kittis_scorer_says_that_labels_of_another_kind_do_not_fit() -> None:
    own, scorer = frame(), SCORERS["kitti"]()
    for ask in (lambda: scorer.judge(own, found([0], [0.9]), 0.3, "run"), lambda: scorer.keep(own, found([0], [0.9]))):
        own.labelled = True
        with pytest.raises(DataError, match=r"frame a: has labels, but the run's scorer needs KITTI's files") as error:
            ask()
        assert "\n" not in str(error.value)
        own.labelled = False
        with pytest.raises(DataError, match=r"frame a: has no labels to .* choose a split with label_2 files"):
            ask()


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    scorer = CloudsScorer({"forklift": 0.5, "pallet": 0.5}, RANGE)
    kept = {"a": scorer.keep(frame(), found([0, 3, 1], [0.9, 0.7, 0.3]))}
    scorer.write(tmp_path / "results", kept)
    assert scorer.score(scorer.read(tmp_path / "results", [frame()])) == scorer.score(kept)
    with pytest.raises(DataError, match=r"b\.json: missing"):
        scorer.read(tmp_path / "results", [replace(frame(), id="b")])
    nuscenes = SCORERS["nuscenes"]
    with pytest.raises(ConfigError, match="NuScenesScorer cannot pool"):
        nuscenes.read(object.__new__(nuscenes), tmp_path, [])
