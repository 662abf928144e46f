"""The table and the JSON file."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from mink_pd.errors import DataError
from mink_pd.evaluate.any_class import POINTS, RANGES, ClassScores, figure_names
from mink_pd.evaluate.curves import OperatingPoint
from mink_pd.evaluate.tables import (
    clouds_distance_table,
    clouds_parts_table,
    clouds_table,
    kitti_table,
    operating_table,
    write_json,
)


def result() -> dict[str, dict[str, dict[str, list[float | None]]]]:
    return {
        "Car": {"bbox": {"R40": [91.234, 80.5, None], "R11": [1.0, 2.0, 3.0]}},
        "Cyclist": {"bbox": {"R40": [4.0, 5.0, 6.0], "R11": [7.0, 8.0, 9.0]}},
    }


def test_table_shows_each_figure_in_its_place() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(kitti_table(result()))
    lines = console.export_text().splitlines()
    cars = next(line for line in lines if "Car" in line).replace("│", " ").split()
    assert cars == ["Car", "(0.7)", "bbox", "91.23", "80.50", "–", "1.00", "2.00", "3.00"]
    assert any("Cyclist (0.5)" in line for line in lines)


def test_operating_table() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    point = OperatingPoint(score=0.5, true_positives=8, false_positives=2, counted=16, frames=4)
    console.print(operating_table({"Car": point, "Cyclist": None}))
    lines = [line.replace("│", " ").split() for line in console.export_text().splitlines()]
    assert ["Car", "(0.7)", "0.500", "0.800", "0.500", "0.615", "0.500"] in lines
    assert ["Cyclist", "(0.5)", *"–" * 5] in lines


def test_tables_of_any_classes_fit_a_terminal_and_show_each_figure_in_its_place() -> None:
    precision: dict[str, float | None] = {name: float(number) for number, name in enumerate(figure_names())}
    precision["3d/over_50m"] = None
    point = OperatingPoint(score=0.5, true_positives=8, false_positives=2, counted=16, frames=4)
    scores = {"construction_vehicle": ClassScores(123, precision, point, 12.34)}
    iou = {"construction_vehicle": 0.5}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(clouds_table(scores, iou))
    console.print(clouds_distance_table(scores))
    console.print(clouds_parts_table(scores, iou))
    console.print(operating_table({"construction_vehicle": point}, iou, "3D", {"construction_vehicle": 12.34}))
    text = console.export_text()
    assert "…" not in text
    rows = [line.replace("│", " ").split() for line in text.splitlines()]

    def cells(*names: str) -> list[str]:
        return ["–" if precision[name] is None else f"{precision[name]:.1f}" for name in names]

    assert ["construction_vehicle", "(0.5)", "123", *cells("bev", "3d", "bev/R40", "3d/R40")] in rows
    distances = [f"distance/{limit}m" for limit in ("0.5", "1", "2", "4")]
    assert ["construction_vehicle", *cells(*distances, "distance")] in rows
    parts = [*RANGES, *POINTS]
    assert any(row[-7:] == ["3D", *cells(*(f"3d/{part}" for part in parts))] for row in rows)
    assert any(row[-6:] == ["0.500", "0.800", "0.500", "0.615", "0.500", "12.3"] for row in rows)


def test_json_keeps_the_shape_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "ap.json"
    write_json(path, result())
    write_json(path, result())
    assert json.loads(path.read_text()) == result()
    assert [entry.name for entry in path.parent.iterdir()] == ["ap.json"]


def test_json_never_holds_nan_nor_destroys_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "ap.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_place_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none/ap\.json: cannot be written"):
        write_json(tmp_path / "none" / "ap.json", {})
