"""The page of labelled frames: what it draws, decoded here, and what it suspects."""

import base64
import json
import re
from typing import Any

import numpy as np
import pytest

from mink_pd.data.frame import Frame
from mink_pd.report.label_page import labels_page

BOXES = np.array([[10, 2, -1, 4, 1.8, 1.6, 0.5], [-6, -3, -1, 0.8, 0.6, 1.8, -2.0]], np.float32)


def make_frame(id: str = "a", boxes: np.ndarray = BOXES) -> Frame:
    rng = np.random.default_rng(0)
    ground = rng.uniform((-30, -30, -1.75, 0), (30, 30, -1.65, 1), (500, 4))
    objects = [rng.normal(BOXES[row, :3], 0.07, (50, 3)) for row in range(2)]
    points = np.concatenate([ground[:, :3], *objects])
    cloud = np.column_stack([points, np.zeros(len(points))]).astype(np.float32)
    return Frame(id, cloud, boxes, np.array(["Car", "</script>"])[: len(boxes)])


def scenes_of(page: str) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/json" id="frames-data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.mark.parametrize("all_around", [True, False])
def test_points_boxes_and_colours_are_those_of_the_frame(all_around: bool) -> None:
    frame = make_frame()
    (scene,) = scenes_of(labels_page([frame], "title", all_around))
    middle = np.array(scene["middle"])
    points = np.frombuffer(base64.b64decode(scene["points"]), "<i2").reshape(-1, 3) * scene["step"] + middle
    np.testing.assert_allclose(points, frame.points[:, :3], atol=2e-3)
    assert (middle[:2] == 0).all() == all_around
    number = np.frombuffer(base64.b64decode(scene["importance"]), np.uint8)
    table = np.frombuffer(base64.b64decode(scene["colours"]), np.uint8).reshape(256, 3)
    for row, name in enumerate(("Car", "</script>")):
        inside = np.arange(500 + 50 * row, 550 + 50 * row)
        assert (table[number[inside]] == scene["outcomes"][name]).all()
    grey = table[number[:500]]
    assert (grey == grey[:, :1]).mean() > 0.95  # some ground lies in a box
    for box, shape in zip(BOXES, scene["panels"][0]["boxes"], strict=True):
        corner = np.array(shape["corners"]) + middle
        np.testing.assert_allclose(corner.mean(0), box[:3], atol=0.01)
        ahead = corner[[0, 3, 4, 7]].mean(0) - corner[[1, 2, 5, 6]].mean(0)  # the roof's arrow points to 4 and 7
        turn = np.arctan2(ahead[1], ahead[0]) - box[6]
        assert abs((turn + np.pi) % (2 * np.pi) - np.pi) < 0.05


def test_far_points_are_left_out_and_counted() -> None:
    """The farthest point sets the step of all coordinates."""
    frame = make_frame()
    whole = len(frame.points)
    frame.points = np.concatenate([frame.points, np.float32([[100_000, 0, 0, 0]])])
    page = labels_page([frame], "title", True)
    (scene,) = scenes_of(page)
    assert len(base64.b64decode(scene["points"])) == 6 * whole
    assert scene["step"] < 0.01
    assert "Points beyond 500 m are not drawn: 1." in page


def test_the_page_is_whole_and_asks_for_nothing() -> None:
    page = labels_page([make_frame("a"), make_frame("b", BOXES[:0])], "title", True)
    assert not re.search(r"(src|href)=\"?http", page)
    assert "2 objects of 2 classes in 2 frames" in page
    assert page.count("data-frame=") == 2
    assert page.rstrip().endswith("</html>")


def test_what_looks_wrong_stands_above() -> None:
    assert 'class="missing"' not in labels_page([make_frame()], "title", True)
    page = labels_page([make_frame()], "title", True, ["<Car>: odd.", "Other."])
    assert "<li>&lt;Car&gt;: odd.</li><li>Other.</li>" in page
