"""Rotations in the JSON of labelling tools."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mink_pd.data.clouds.cloud_labels import read_labels
from mink_pd.errors import DataError

CENTRE, SIZE = {"x": 12.0, "y": 1.0, "z": -1.0}, {"x": 3.9, "y": 1.6, "z": 1.5}
BOX = (*CENTRE.values(), *SIZE.values())
SIDES = dict(zip(("length", "width", "height"), SIZE.values(), strict=True))


def content(tool: str, rotation: dict[str, float]) -> Any:
    """One car."""
    if tool == "SUSTechPOINTS":
        return [{"obj_type": "Car", "psr": {"position": CENTRE, "rotation": rotation, "scale": SIZE}}]
    if tool == "labelCloud":
        return {"objects": [{"name": "Car", "centroid": CENTRE, "dimensions": SIDES, "rotations": rotation}]}
    geometry = {"position": CENTRE, "rotation": rotation, "dimensions": SIZE}
    return {"objects": [{"key": "k", "classTitle": "Car"}], "figures": [{"objectKey": "k", "geometry": geometry}]}


def quaternion(roll: float, pitch: float, yaw: float, length: float) -> dict[str, float]:
    """Of angles in degrees."""
    turned = Rotation.from_euler("ZYX", (yaw, pitch, roll), degrees=True).as_quat()
    return dict(zip("xyzw", (length * turned).tolist(), strict=True))


@pytest.mark.parametrize("unit", ["radians", "degrees"])
@pytest.mark.parametrize("tool", ["SUSTechPOINTS", "labelCloud", "Supervisely"])
def test_rotations_as_quaternions(tmp_path: Path, tool: str, unit: Literal["radians", "degrees"]) -> None:
    path = tmp_path / "a.json"
    for yaw in (45.0, -120.0, 179.0):
        for roll, pitch, length in ((0, 0, 1), (6, -9, 1.001), (0, 0, -1)):
            path.write_text(json.dumps(content(tool, quaternion(roll, pitch, yaw, length))))
            boxes = read_labels(path, {"car": "Car"}, unit, None).boxes
            np.testing.assert_allclose(boxes, [[*BOX, np.radians(yaw)]], rtol=1e-5)


@pytest.mark.parametrize(
    ("roll", "pitch", "length", "said"),
    [
        (25, 0, 1, "leans by 0.436"),
        (0, -25, 1, "leans by 0.436"),
        (180, 0, 1, "leans by 3.14"),
        (0, 0, 0, "has w, as a quaternion, but the length 0 instead of 1"),
        (0, 0, 1.2, "the length 1.2 instead of 1"),
        (0, 0, np.nan, "the length nan instead of 1"),
    ],
)
def test_impossible_quaternions_are_named(tmp_path: Path, roll: float, pitch: float, length: float, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content("labelCloud", quaternion(roll, pitch, 45, length))))
    with pytest.raises(DataError) as error:
        read_labels(path, {"car": "Car"}, "radians", None)
    assert str(error.value).startswith(f"{path}: object 1: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
