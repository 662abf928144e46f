"""Figures as tables for readers and as JSON for programs."""

import json
from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from mink_pd.evaluate.any_class import DISTANCES, POINTS, RANGES
from mink_pd.evaluate.any_class import Result as CloudsResult
from mink_pd.evaluate.curves import OperatingPoint
from mink_pd.evaluate.kitti import RECALLS, Result
from mink_pd.evaluate.rules import LEVELS, MIN_IOU
from mink_pd.files import whole_file


def kitti_table(result: Result, min_iou: Mapping[str, float] = MIN_IOU) -> Table:
    """Rows: class and metric. Columns: easy, moderate and hard with 40 recall points, then with 11."""
    table = Table(title="KITTI AP [%]")
    table.add_column("class (IoU)", overflow="fold")
    table.add_column("metric")
    for recall in RECALLS:
        for level in LEVELS:
            table.add_column(f"{recall}\n{level.name}", justify="right")
    for name, metrics in result.items():
        heading = f"{name} ({min_iou[name]})"
        for metric, figures in metrics.items():
            values = [value for recall in RECALLS for value in figures[recall]]
            cells = ["–" if value is None else f"{value:.2f}" for value in values]
            table.add_row(heading, metric, *cells, end_section=metric == list(metrics)[-1])
            heading = ""
    return table


def operating_table(
    points: Mapping[str, OperatingPoint | None],
    min_iou: Mapping[str, float] = MIN_IOU,
    of: str = "3D, moderate",
    heading_errors: Mapping[str, float | None] | None = None,
) -> Table:
    """Rows: class. Columns: score cut, precision, recall, F1 and false positives per frame.

    of: overlap and level of the matches, for the title.
    heading_errors: by class [degrees], for one more column.
    """
    table = Table(title=f"at the score of the highest F1 ({of})")
    table.add_column("class (IoU)", overflow="fold")
    for heading in ("score", "precision", "recall", "F1", "false positives\nper frame"):
        table.add_column(heading, justify="right")
    if heading_errors is not None:
        table.add_column("heading\nerror [°]", justify="right")
    for name, point in points.items():
        cells = ["–"] * 5
        if point is not None:
            values = (point.score, point.precision, point.recall, point.f1, point.false_positives_per_frame)
            cells = [f"{value:.3f}" for value in values]
        if heading_errors is not None:
            cells.append(_shown(heading_errors[name], 1))
        table.add_row(f"{name} ({min_iou[name]})", *cells)
    return table


def clouds_table(result: CloudsResult, min_iou: Mapping[str, float]) -> Table:
    """Rows: class. Columns: number of objects, AP by overlap over all points of the curve and over 40 recall points."""
    table = Table(_class_column(), title="AP [%] by overlap")
    kinds = {"bev": "BEV", "3d": "3D", "bev/R40": "BEV, R40", "3d/R40": "3D, R40"}
    for heading in ("objects", *kinds.values()):
        table.add_column(heading, justify="right")
    for name, one in result.items():
        cells = [_shown(one.precision[kind], 1) for kind in kinds]
        table.add_row(f"{name} ({min_iou[name]})", str(one.objects), *cells)
    return table


def clouds_distance_table(result: CloudsResult) -> Table:
    """Rows: class. Columns: AP at each distance of centres, and their mean."""
    table = Table("class", title="AP [%] by distance of centres")
    kinds = {f"distance/{limit:g}m": f"{limit:g} m" for limit in DISTANCES} | {"distance": "mean"}
    for heading in kinds.values():
        table.add_column(heading, justify="right")
    for name, one in result.items():
        table.add_row(name, *(_shown(one.precision[kind], 1) for kind in kinds))
    return table


def clouds_parts_table(result: CloudsResult, min_iou: Mapping[str, float]) -> Table:
    """Rows: class and kind of match. Columns: AP per range and per number of points in the object."""
    table = Table(_class_column(), "match", title="AP [%] by range and by points in the object")
    for part in (*RANGES, *POINTS):
        table.add_column(part.replace("_", " ").replace(" points", "\npoints"), justify="right")
    for name, one in result.items():
        heading = f"{name} ({min_iou[name]})"
        for kind, title in (("bev", "BEV"), ("3d", "3D"), ("distance", "distance")):
            cells = [_shown(one.precision[f"{kind}/{part}"], 1) for part in (*RANGES, *POINTS)]
            table.add_row(heading, title, *cells, end_section=kind == "distance")
            heading = ""
    return table


def _class_column() -> Column:
    """The column of classes with their thresholds; a long name takes two lines."""
    return Column("class (IoU)", overflow="fold")


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def nuscenes_table(summary: Mapping[str, Any]) -> Table:
    """Rows: classes and their mean. Columns: AP [%], which is the mean over four distances, and the five errors."""
    table = Table("class", title="nuScenes AP [%] and errors of true positives")
    errors = {"trans_err": "ATE\n[m]", "scale_err": "ASE\n1-IoU", "orient_err": "AOE\n[rad]"}
    errors |= {"vel_err": "AVE\n[m/s]", "attr_err": "AAE\n1-acc"}
    for heading in ("AP", *errors.values()):
        table.add_column(heading, justify="right")
    for name, ap in summary["mean_dist_aps"].items():
        own = [summary["label_tp_errors"][name][error] for error in errors]
        table.add_row(name, f"{100 * ap:.1f}", *("–" if isnan(value) else f"{value:.2f}" for value in own))
    table.add_section()
    means = [f"{summary['tp_errors'][error]:.2f}" for error in errors]
    table.add_row("mean", f"{100 * summary['mean_ap']:.1f}", *means)
    return table


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` as JSON, completely or not at all. Raises DataError if the file cannot be written."""
    text = json.dumps(content, indent=1, allow_nan=False)
    with whole_file(path) as file:
        file.write(text + "\n")
