"""nuScenes' detection benchmark: the official submission file, scored by the devkit's own evaluation.

Source: Caesar et al., CVPR 2020, section 3.1 (mAP over centre distances, five errors of true positives, NDS).
"""

import contextlib
import io
import json
import math
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mink_pd.data.datasets.nuscenes_dataset import to_map
from mink_pd.data.devkit import devkit, open_tables, scenes_of_split
from mink_pd.errors import DataError
from mink_pd.files import read_json, reason, whole_file

ERRORS = {"trans_err": "mATE", "scale_err": "mASE", "orient_err": "mAOE", "vel_err": "mAVE", "attr_err": "mAAE"}
RESULTS = "results_nusc.json"
MAX_BOXES = 500  # per sample
_LARGEST = 1 << 32  # bytes of a results file; 500 boxes in each sample of the test split take 1.5 GB
_AP_WEIGHT = 5  # weight of mAP in NDS; the score of each error has weight 1
MOVING = 0.2  # [m/s], the speed above which an object counts as moving
# Class -> attributes in motion and at rest: those of most labels of such objects. OpenPCDet submits them as well.
_ATTRIBUTES = dict.fromkeys(
    ("car", "truck", "trailer", "construction_vehicle"), ("vehicle.moving", "vehicle.parked")
) | {
    "bus": ("vehicle.moving", "vehicle.stopped"),
    "pedestrian": ("pedestrian.moving", "pedestrian.standing"),
    "motorcycle": ("cycle.with_rider", "cycle.without_rider"),
    "bicycle": ("cycle.with_rider", "cycle.without_rider"),
    "traffic_cone": ("", ""),
    "barrier": ("", ""),
}
META = {"use_camera": False, "use_lidar": True, "use_radar": False, "use_map": False, "use_external": False}

Row = dict[str, Any]  # one detection in the submission's format


def submission_rows(
    token: str,
    global_from_lidar: np.ndarray,
    boxes: np.ndarray,
    names: np.ndarray,
    scores: np.ndarray,
    velocities: np.ndarray | None = None,
) -> list[Row]:
    """At most 500 detections of a sample in the map's frame, best first.

    global_from_lidar: float (4, 4).
    boxes: (B, 7) in the LiDAR frame.
    names: (B,) detection classes.
    scores: (B,) [0..1].
    velocities: (B, 2) [m/s] in the LiDAR frame. Without them, or for nan, an object counts as standing still.
    Boxes become upright in the map's frame, like the annotations. The attribute follows from class and speed.
    """
    best = np.argsort(-scores, kind="stable")[:MAX_BOXES]
    boxes, names, scores = boxes[best].astype(np.float64), names[best], scores[best]
    moving = np.zeros((len(best), 2)) if velocities is None else np.nan_to_num(velocities[best].astype(np.float64))
    centre = boxes[:, :3] @ global_from_lidar[:3, :3].T + global_from_lidar[:3, 3]  # (B, 3)
    ahead = to_map(global_from_lidar, np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6])], axis=1))  # (B, 2)
    half = np.arctan2(ahead[:, 1], ahead[:, 0]) / 2
    moving = to_map(global_from_lidar, moving)
    return [
        {
            "sample_token": token,
            "translation": centre[row].tolist(),
            "size": boxes[row, [4, 3, 5]].tolist(),  # w, l, h
            "rotation": [math.cos(half[row]), 0.0, 0.0, math.sin(half[row])],
            "velocity": moving[row].tolist(),
            "detection_name": str(names[row]),
            "detection_score": float(scores[row]),
            "attribute_name": attribute(str(names[row]), float(np.hypot(*moving[row]))),
        }
        for row in range(len(best))
    ]


def attribute(name: str, speed: float) -> str:
    """The attribute of an object of a detection class at a speed [m/s]; empty for cones and barriers."""
    return _ATTRIBUTES[name][0 if speed > MOVING else 1]


def write_submission(path: Path, detections: Mapping[str, list[Row]]) -> None:
    """Write the official results file: sample token -> rows. Raises DataError if it cannot be written."""
    with whole_file(path) as file:
        json.dump({"meta": META, "results": detections}, file)


def score_rows(detections: Mapping[str, list[Row]], root: Path, version: str, split: str) -> dict[str, Any]:
    """:func:`evaluate_submission` for detections that are not in a file."""
    if not any(detections.values()):
        return nothing_found()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RESULTS
        write_submission(path, detections)
        return evaluate_submission(path, root, version, split)


def evaluate_submission(path: Path, root: Path, version: str, split: str) -> dict[str, Any]:
    """Score a results file with the devkit's NuScenesEval (configuration detection_cvpr_2019) over a whole split.

    Returns the devkit's metrics_summary.json: mean_ap, nd_score, tp_errors, mean_dist_aps, label_aps, label_tp_errors.
    Raises DataError that names the fault of the file or of the data set.
    """
    tables = open_tables(root, version)
    _check(path, tables, split)
    evaluation = devkit("nuscenes.eval.detection.evaluate")
    config = devkit("nuscenes.eval.common.config").config_factory("detection_cvpr_2019")
    quiet = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        try:
            scorer = evaluation.NuScenesEval(tables, config, str(path), split, folder, verbose=False)
            metrics, _ = scorer.evaluate()
        except Exception as error:  # the devkit raises any exception for boxes of another kind
            text = f"the devkit refuses it ({type(error).__name__}: {reason(error)})"
            raise DataError(f"{path}: {text}; write it again") from error
    return metrics.serialize()


def _check(path: Path, tables: Any, split: str) -> None:
    """Raise DataError for faults for which the devkit would raise a less clear exception."""
    scenes = scenes_of_split(tables, split)
    known = {scene["token"] for scene in tables.scene if scene["name"] in scenes}
    samples = [sample for sample in tables.sample if sample["scene_token"] in known]
    wanted = {sample["token"] for sample in samples}
    content = read_json(path, remedy="give a results file", limit=_LARGEST)
    try:
        results = content["results"]
        given = set(results)
        count = sum(len(rows) for rows in results.values())
    except (KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: lacks nuScenes' 'meta' and 'results' by sample token; write it again") from None
    for odd, what in ((wanted - given, "lacks"), (given - wanted, "holds")):
        if odd:
            raise DataError(
                f"{path}: {what} sample {min(odd)} ({len(odd)} in all), and split '{split}' has {len(wanted)} samples;"
                " results must cover exactly one split, with an empty list for a sample without detections"
            )
    if not any(sample["anns"] for sample in samples):
        raise DataError(f"{tables.table_root}: split '{split}' has no annotations; score it on the evaluation server")
    if not count:
        raise DataError(f"{path}: has no detection at all, which the devkit cannot score: mAP and NDS are 0")


def headline(summary: Mapping[str, Any]) -> dict[str, float]:
    """mAP and NDS in percent and the five mean errors, by their usual names."""
    errors = {name: summary["tp_errors"][key] for key, name in ERRORS.items()}
    return {"mAP": 100 * summary["mean_ap"], "NDS": 100 * summary["nd_score"], **errors}


def of_classes(summary: Mapping[str, Any], classes: Collection[str]) -> dict[str, Any]:
    """The summary with its means over ``classes`` only, the classes of a detector.

    mean_ap, tp_errors, tp_scores and nd_score follow the devkit's formulas. An error that none of the classes has is
    nan and does not enter nd_score. With all ten classes the result equals the devkit's.
    """
    aps = {name: value for name, value in summary["mean_dist_aps"].items() if name in classes}
    errors = {name: value for name, value in summary["label_tp_errors"].items() if name in classes}
    mean_errors = {}
    for error in ERRORS:
        known = [value[error] for value in errors.values() if not math.isnan(value[error])]
        mean_errors[error] = float(np.mean(known)) if known else math.nan
    scores = {error: max(0.0, 1 - value) for error, value in mean_errors.items() if not math.isnan(value)}
    mean_ap = float(np.mean(list(aps.values())))
    return {
        **summary,
        "mean_dist_aps": aps,
        "label_tp_errors": errors,
        "label_aps": {name: value for name, value in summary["label_aps"].items() if name in classes},
        "mean_ap": mean_ap,
        "tp_errors": mean_errors,
        "tp_scores": scores,
        "nd_score": (_AP_WEIGHT * mean_ap + sum(scores.values())) / (_AP_WEIGHT + len(scores)),
    }


def nothing_found() -> dict[str, Any]:
    """The devkit's figures for a detector that finds nothing, so that no class has a true positive."""
    config = devkit("nuscenes.eval.common.config").config_factory("detection_cvpr_2019")
    metrics = devkit("nuscenes.eval.detection.data_classes").DetectionMetrics(config)
    for name in config.class_names:
        for distance in config.dist_ths:
            metrics.add_label_ap(name, distance, 0.0)
        for error in ERRORS:
            has_none = name == "traffic_cone" and error in ("attr_err", "vel_err", "orient_err")
            has_none |= name == "barrier" and error in ("attr_err", "vel_err")
            metrics.add_label_tp(name, error, math.nan if has_none else 1.0)
    return metrics.serialize()
