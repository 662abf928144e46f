"""Submissions scored by the devkit: ground truth scores 1, spoilt ground truth what the definitions say."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nuscenes_copy import VERSION, change, copy_tables
from rich.console import Console
from scipy.spatial.transform import Rotation

from mink_pd.data.datasets.nuscenes_dataset import CLASSES, NuScenes
from mink_pd.errors import DataError
from mink_pd.evaluate.nuscenes import (
    ERRORS,
    MAX_BOXES,
    Row,
    attribute,
    evaluate_submission,
    headline,
    nothing_found,
    of_classes,
    score_rows,
    submission_rows,
    write_submission,
)
from mink_pd.evaluate.scorers.nuscenes import NuScenesScorer
from mink_pd.evaluate.tables import nuscenes_table

pytest.importorskip("nuscenes")


@pytest.fixture(scope="module")
def dataset(nuscenes_root: Path) -> NuScenes:
    return NuScenes(nuscenes_root, "val", version=VERSION, sweeps=1)


@pytest.fixture(scope="module")
def truth(dataset: NuScenes) -> dict[str, list[Row]]:
    """The reader's boxes as detections, but for those without a point, which the devkit does not want to be found;
    attributes are the annotations' own, which no rule can know."""
    from mink_pd.data.devkit import open_tables

    tables, rows = open_tables(dataset.root, VERSION), {}
    names = {record["token"]: record["name"] for record in tables.attribute}
    for frame, keyframe in zip(dataset, dataset.keyframes, strict=True):
        scores = np.ones(len(frame.boxes), np.float32)
        pose = keyframe.global_from_lidar
        own = submission_rows(frame.id, pose, frame.boxes, frame.names, scores, frame.velocities)
        for row, annotation in zip(own, tables.get("sample", frame.id)["anns"], strict=True):
            tokens = tables.get("sample_annotation", annotation)["attribute_tokens"]
            row["attribute_name"] = names[tokens[0]] if tokens else ""
        rows[frame.id] = [row for row, seen in zip(own, keyframe.seen, strict=True) if seen]
    return rows


def scored(dataset: NuScenes, rows: dict[str, list[Row]], edit: Callable[[Row], object]) -> dict[str, Any]:
    edited = json.loads(json.dumps(rows))
    for own in edited.values():
        for row in own:
            edit(row)
    return score_rows(edited, dataset.root, VERSION, "val")


def test_ground_truth_scores_one(dataset: NuScenes, truth: dict[str, list[Row]]) -> None:
    summary = scored(dataset, truth, lambda row: None)
    assert summary["mean_ap"] == pytest.approx(1, abs=1e-9)
    assert summary["nd_score"] == pytest.approx(1, abs=1e-5)
    assert list(summary["mean_dist_aps"].values()) == pytest.approx([1.0] * 10)


def test_errors_are_what_was_done_to_the_boxes(dataset: NuScenes, truth: dict[str, list[Row]]) -> None:
    def spoil(row: Row) -> None:
        row["translation"][0] += 0.3
        row["velocity"][1] += 0.25
        row["size"] = [1.25 * value for value in row["size"]]
        w, _, _, z = row["rotation"]
        half = 2 * math.atan2(z, w) / 2 + 0.05
        row["rotation"] = [math.cos(half), 0.0, 0.0, math.sin(half)]
        row["attribute_name"] = "vehicle.stopped" if row["attribute_name"] == "vehicle.parked" else "vehicle.parked"

    errors = headline(scored(dataset, truth, spoil))
    assert errors["mAP"] == pytest.approx(100)
    assert errors["mATE"] == pytest.approx(0.3, abs=1e-4)
    assert errors["mAVE"] == pytest.approx(0.25, abs=1e-4)
    assert errors["mASE"] == pytest.approx(1 - 0.8**3, abs=1e-4)
    assert errors["mAOE"] == pytest.approx(0.1, abs=1e-4)
    assert errors["mAAE"] == pytest.approx(1)
    expected = (5 * 1 + 0.7 + 0.75 + 0.8**3 + 0.9 + 0) / 10
    assert errors["NDS"] == pytest.approx(100 * expected, abs=0.01)


def test_means_over_the_detectors_classes(dataset: NuScenes, truth: dict[str, list[Row]]) -> None:
    def spoil(row: Row) -> None:
        row["translation"][0] += 0.2 if row["detection_name"] == "car" else 0.9

    official = scored(dataset, truth, spoil)
    everything = of_classes(official, CLASSES)
    assert headline(everything) == pytest.approx(headline(official), nan_ok=True)
    assert everything["tp_scores"] == pytest.approx(official["tp_scores"])
    cars = headline(of_classes(official, ["car"]))
    assert cars["mAP"] == pytest.approx(100 * official["mean_dist_aps"]["car"])
    assert cars["mATE"] == pytest.approx(0.2, abs=1e-4)
    cones = headline(of_classes(official, ["traffic_cone"]))  # which have no heading, speed and attribute
    assert math.isnan(cones["mAOE"])
    assert cones["NDS"] == pytest.approx((5 * cones["mAP"] + 100 * (0.1 + 1 - cones["mASE"])) / 7, abs=0.01)
    assert "trailer" in NuScenesScorer(dataset, ["car", "truck"]).note
    assert NuScenesScorer(dataset).note == ""


def test_the_attribute_rule_is_right_more_often_than_not(dataset: NuScenes, truth: dict[str, list[Row]]) -> None:
    rule = scored(dataset, truth, lambda row: row.update(attribute_name=of_row(row)))
    assert rule["tp_errors"]["attr_err"] < 0.5
    assert rule["mean_ap"] == pytest.approx(1)


def of_row(row: Row) -> str:
    return attribute(row["detection_name"], float(np.hypot(*row["velocity"])))


def test_attributes_belong_to_their_class() -> None:
    from nuscenes.eval.detection.utils import detection_name_to_rel_attributes

    for name in CLASSES:
        allowed = detection_name_to_rel_attributes(name) or [""]
        assert {attribute(name, 0.0), attribute(name, 3.0)} <= set(allowed)
        assert len(allowed) == 1 or attribute(name, 0.0) != attribute(name, 3.0)


def test_rows_are_in_the_maps_frame_best_first_and_no_more_than_allowed() -> None:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    pose[:3, 3] = (100, 50, 2)
    boxes = np.tile(np.array([3.0, 0, 1, 4, 2, 1.5, 0.1], np.float32), (MAX_BOXES + 20, 1))
    scores = np.linspace(0, 1, len(boxes)).astype(np.float32)
    velocities = np.full((len(boxes), 2), np.nan, np.float32)
    velocities[-1] = (2, 0)
    rows = submission_rows("t", pose, boxes, np.array(["car"] * len(boxes)), scores, velocities)
    assert len(rows) == MAX_BOXES
    assert [rows[0]["detection_score"], rows[-1]["detection_score"]] == [1.0, pytest.approx(scores[20])]
    assert rows[0]["translation"] == pytest.approx([100, 53, 3])
    assert rows[0]["size"] == pytest.approx([2, 4, 1.5])
    assert 2 * math.atan2(rows[0]["rotation"][3], rows[0]["rotation"][0]) == pytest.approx(np.pi / 2 + 0.1)
    assert rows[0]["velocity"] == pytest.approx([0, 2])
    assert [row["attribute_name"] for row in rows[:2]] == ["vehicle.moving", "vehicle.parked"]
    assert rows[1]["velocity"] == [0, 0]


def test_nothing_found_scores_nothing(dataset: NuScenes, truth: dict[str, list[Row]]) -> None:
    summary = score_rows({token: [] for token in truth}, dataset.root, VERSION, "val")
    assert headline(summary) == {"mAP": 0, "NDS": 0, **dict.fromkeys(ERRORS.values(), 1)}

    def far(row: Row) -> None:
        row["translation"][0] += 7.0 if row["detection_name"] != "pedestrian" else 30.0
        row["detection_name"] = "bus"

    near_nothing = scored(dataset, truth, far)  # the devkit's own answer for classes without a detection
    for name in ("traffic_cone", "barrier", "car"):
        ours, theirs = nothing_found()["label_tp_errors"][name], near_nothing["label_tp_errors"][name]
        assert ours == pytest.approx(theirs, nan_ok=True)


def test_the_table_has_a_row_a_class(dataset: NuScenes, truth: dict[str, list[Row]]) -> None:
    console = Console(width=80, record=True)
    console.print(nuscenes_table(scored(dataset, truth, lambda row: None)))
    text = console.export_text()
    cone = next(line for line in text.splitlines() if "traffic_cone" in line)
    assert cone.count("100.0") == 1
    assert cone.count("–") == 3
    assert "mean" in text


# -- bad input: one line that names it


def refused(dataset: NuScenes, path: Path, *words: str, split: str = "val", root: Path | None = None) -> None:
    with pytest.raises(DataError) as caught:
        evaluate_submission(path, root or dataset.root, VERSION, split)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message, message


def test_results_that_do_not_fit(dataset: NuScenes, truth: dict[str, list[Row]], tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    refused(dataset, path, "cannot be read")
    path.write_text("{}")
    refused(dataset, path, "lacks nuScenes' 'meta' and 'results'")
    first = next(iter(truth))
    write_submission(path, {token: rows for token, rows in truth.items() if token != first})
    refused(dataset, path, f"lacks sample {first}", "has 4 samples")
    write_submission(path, truth | {"feed": []})
    refused(dataset, path, "holds sample feed")
    write_submission(path, {token: [] for token in truth})
    refused(dataset, path, "no detection at all")
    write_submission(path, {token: 20 * rows for token, rows in truth.items()})
    refused(dataset, path, "the devkit refuses it", "500 boxes")
    write_submission(path, {token: [row | {"detection_name": "tram"} for row in rows] for token, rows in truth.items()})
    refused(dataset, path, "the devkit refuses it", "tram")


def test_a_split_without_annotations(
    dataset: NuScenes, truth: dict[str, list[Row]], tmp_path: Path, nuscenes_root: Path
) -> None:
    root = copy_tables(nuscenes_root, tmp_path / "copy")
    for table in ("sample_annotation", "instance"):
        change(root, table, lambda records: records.clear())
    path = tmp_path / "results.json"
    write_submission(path, truth)
    with pytest.raises(DataError, match="split 'val' has no annotations"):
        evaluate_submission(path, root, VERSION, "val")
