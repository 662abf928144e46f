"""Files of detections: whole, or one line that names the file and what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from mink_pd.detect.clouds import write_json
from mink_pd.detect.predict import FrameDetections
from mink_pd.errors import DataError
from mink_pd.evaluate.detection_files import read_detections

BOX = [10.0, 0, -1, 4, 2, 1.5, 0.5]


def test_what_detect_writes_comes_back(tmp_path: Path) -> None:
    found = FrameDetections(np.array([BOX, BOX], np.float32), np.array(["a", "b"]), np.array([0.1, 0.7], np.float32))
    none = FrameDetections(found.boxes[:0], found.names[:0], found.scores[:0])
    write_json(tmp_path / "x.json", found)
    write_json(tmp_path / "y.json", none)
    read = read_detections(tmp_path, ["y", "x"])
    assert list(read) == ["y", "x"]
    np.testing.assert_array_equal(read["x"].boxes, found.boxes)
    np.testing.assert_array_equal(read["x"].scores, found.scores)
    assert read["x"].names.tolist() == ["a", "b"]
    assert read["y"].boxes.shape == (0, 7)
    assert len(read["y"].names) == len(read["y"].scores) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "must contain keys and values"),
        ({}, "'boxes' must be a list of rows of 7 numbers"),
        ({"boxes": 5}, "'boxes' must be a list of rows of 7 numbers"),
        ({"boxes": [BOX, BOX[:6]]}, "'boxes' must be a list of rows of 7 numbers"),
        ({"boxes": [BOX[:6]]}, "'boxes' must be a list of rows of 7 numbers"),
        ({"boxes": [["x"] * 7]}, "'boxes' must be a list of rows of 7 numbers"),
        ({"boxes": [BOX]}, "'scores' must be a list of numbers"),
        ({"boxes": [BOX], "scores": [[1]]}, "'scores' must be a list of numbers"),
        ({"boxes": [BOX], "scores": [1], "names": "car"}, "'names' must be a list of class names"),
        ({"boxes": [BOX], "scores": [1], "names": [1]}, "'names' must be a list of class names"),
        ({"boxes": [BOX], "scores": [1, 2], "names": ["a"]}, "1 boxes, 1 names and 2 scores"),
        ({"boxes": [[*BOX[:6], float("nan")]], "scores": [1], "names": ["a"]}, "'boxes' contains a number that is NaN"),
        (
            {"boxes": [BOX], "scores": [float("inf")], "names": ["a"]},
            "'scores' contains a number that is NaN",
        ),
        ({"boxes": [[*BOX[:6], 90.0]], "scores": [1], "names": ["a"]}, "the yaw of box 0 is beyond 3 pi"),
        ({"boxes": [[*BOX[:4], 0, *BOX[5:]]], "scores": [1], "names": ["a"]}, "box 0 has a length"),
    ],
)
def test_a_malformed_file(tmp_path: Path, content: object, words: str) -> None:
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        read_detections(tmp_path, ["x"])
    assert str(tmp_path / "x.json") in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_missing_or_no_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_detections(tmp_path / "nowhere", ["x"])
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(DataError, match=r"y\.json: missing, the first of 1 out of 2"):
        read_detections(tmp_path, ["x", "y"])
    with pytest.raises(DataError, match=r"x\.json: not valid JSON"):
        read_detections(tmp_path, ["x"])


def test_names_must_be_those_of_the_classes(tmp_path: Path) -> None:
    def read(*names: str) -> None:
        write = {"boxes": [BOX] * len(names), "scores": [1] * len(names), "names": list(names)}
        (tmp_path / "x.json").write_text(json.dumps(write))
        read_detections(tmp_path, ["x"], ["Car", "Pedestrian"])

    read()
    read("Car", "Truck")  # a detector may know more
    with pytest.raises(DataError, match=r"x\.json: 'CAR' is 'Car' in data\.classes"):
        read("Car", "CAR")
    with pytest.raises(DataError, match=r"its detections are called Truck, Van, and data\.classes has Car, Pedestrian"):
        read("Van", "Truck")
