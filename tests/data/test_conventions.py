"""Labels of another convention are told by the points, and right ones are left in peace."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from labelled_street import street
from shapely.geometry import Point, Polygon

from mink_pd.boxes.geometry import bev_corners
from mink_pd.data.clouds.conventions import READINGS, points_by_reading
from mink_pd.data.clouds.survey import survey, suspicions
from mink_pd.data.datasets.kitti_dataset import Kitti
from mink_pd.data.frame import Frame

FRAMES = [street(seed) for seed in range(12)]


def said(change: Callable[[np.ndarray], np.ndarray], frames: list[Frame] = FRAMES) -> str:
    """What is suspected of frames whose boxes are changed."""
    return " ".join(suspicions(survey(replace(frame, boxes=change(frame.boxes.copy())) for frame in frames)))


def with_columns(**columns: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A change of columns of boxes; z, yaw: from the boxes to the new column."""

    def change(boxes: np.ndarray) -> np.ndarray:
        new = boxes.copy()
        for name, of in columns.items():
            new[:, "xyzlwha".index(name)] = of(boxes)
        return new

    return change


def test_right_labels_are_not_suspected() -> None:
    assert said(lambda boxes: boxes) == ""


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda boxes: boxes[:, [0, 1, 2, 4, 3, 5, 6]], "length and width are exchanged"),
        (with_columns(a=lambda boxes: boxes[:, 6] + np.pi / 2), "yaw is a quarter turn off"),
        (with_columns(a=lambda boxes: -boxes[:, 6]), "yaw is counted clockwise"),
        (
            with_columns(a=lambda boxes: -boxes[:, 6] - np.pi / 2),
            "yaw is a quarter turn off and yaw is counted clockwise",
        ),
        (with_columns(z=lambda boxes: boxes[:, 2] - boxes[:, 5] / 2), "z is that of the bottom face"),
        (lambda boxes: boxes[:, [0, 1, 2, 5, 4, 3, 6]], "length and height are exchanged"),
        (lambda boxes: boxes[:, [0, 1, 2, 3, 5, 4, 6]], "width and height are exchanged"),
        (
            lambda boxes: boxes - [1, 0.5, 0, 0, 0, 0, 0],
            "all objects lie about +1 m forward and +0.5 m to the left of their boxes",
        ),
    ],
)  # fmt: skip
def test_another_convention_is_named(change: Callable[[np.ndarray], np.ndarray], finding: str) -> None:
    text = said(change)
    assert f"the points in and near the boxes say that {finding}; correct the labels." in text
    assert "Car" in text


def test_labels_of_a_real_sensor_are_not_suspected(shared: Callable[[str], Path]) -> None:
    frames = Kitti(shared("kitti_real"), "all", camera_view=False)
    assert said(lambda boxes: boxes, [frames[index] for index in range(0, len(frames), 2)]) == ""


def test_points_of_a_reading_are_those_in_its_box() -> None:
    """Against shapely and a plain comparison of heights."""
    frame = FRAMES[0]
    counts = points_by_reading(frame.points, frame.boxes)
    above = frame.points[frame.points[:, 2] > -1.5]  # the ground, at -1.8 m, is not counted within 0.25 m
    for number, reading in enumerate(READINGS):
        boxes = reading.read(frame.boxes)
        for row, (box, corners) in enumerate(zip(boxes, bev_corners(boxes), strict=True)):
            near = above[np.linalg.norm(above[:, :2] - box[:2], axis=1) < 8]
            flat = np.array([Polygon(corners).covers(Point(point[:2])) for point in near], bool)
            inside = np.count_nonzero(flat & (np.abs(near[:, 2] - box[2]) <= box[5] / 2))
            assert abs(int(counts[row, number]) - inside) <= 0.1 * inside + 3  # between 0.25 and 0.3 m both may differ


def test_empty_boxes_yaws_in_degrees_and_odd_intensities_are_suspected() -> None:
    assert "Car: 36 of 36 boxes hold no point" in said(with_columns(z=lambda boxes: boxes[:, 2] + 30))
    assert "are they in degrees?" in said(with_columns(a=lambda boxes: np.degrees(boxes[:, 6])))
    radians = said(with_columns(a=lambda boxes: np.radians(boxes[:, 6])))
    assert "are they radians that are read as degrees?" in radians
    assert "the points in and near the boxes" not in radians  # nothing follows from wrong angles
    assert suspicions(survey([])) == ["No frame holds an object: are the labels where they are looked for?"]

    def with_intensity(values: float, spread: float = 0.0) -> list[str]:
        clouds = [frame.points.copy() for frame in FRAMES]
        for cloud in clouds:
            cloud[:, 3] = values + spread * cloud[:, 3]
        return suspicions(survey(replace(f, points=cloud) for f, cloud in zip(FRAMES, clouds, strict=True)))

    assert with_intensity(0.0) == ["The intensity is 0 at every point and carries no information; set intensity: none."]
    assert with_intensity(0.4)[0].startswith("The intensity is 0.4 at every point")
    assert with_intensity(0.0, 1 / 255)[0].startswith("Nearly all points have less than 0.02 of the full scale")
    assert with_intensity(0.0, 0.5) == []
    dark = [replace(frame, points=frame.points * [1, 1, 1, 0]) for frame in FRAMES]
    assert suspicions(survey(dark), measured=False) == []


def test_sizes_in_other_units_boxes_labelled_twice_and_empty_clouds_are_suspected() -> None:
    for factor, size in ((100, "440 x 190 x 160"), (0.01, "0.044 x 0.019 x 0.016")):
        factors = np.array([1, 1, 1, factor, factor, factor, 1])
        assert f"Car: the median size is {size} m; are sizes in metres?" in said(lambda boxes, by=factors: boxes * by)
    doubled = [replace(f, boxes=np.tile(f.boxes, (2, 1)), names=np.tile(f.names, 2)) for f in FRAMES]
    count = sum(int((frame.names == "Car").sum()) for frame in FRAMES)
    lines = suspicions(survey(doubled))
    assert f"Car: {count} of {2 * count} boxes lie where another one does; label each object once." in lines
    empty = [replace(frame, points=frame.points[:0]) for frame in FRAMES]
    assert suspicions(survey(empty)) == ["No frame holds a point: are the clouds whole, and does data.dtype fit them?"]
