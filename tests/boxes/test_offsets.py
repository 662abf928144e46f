"""Places in the frame of a box, against shapely's rotated rectangles."""

import numpy as np
import torch
from shapely.geometry import Point, Polygon

from mink_pd.boxes.geometry import bev_corners
from mink_pd.boxes.offsets import box_offsets


def test_inside_means_within_half_length_and_half_width() -> None:
    rng = np.random.default_rng(0)
    boxes = rng.uniform([-5, -5, -1, 1, 1, 1, -4], [5, 5, 1, 6, 3, 2, 4], (20, 7))
    places = rng.uniform(-8, 8, (300, 3))
    along, across = box_offsets(torch.tensor(places[:, None]), torch.tensor(boxes))
    assert along.shape == across.shape == (300, 20)
    inside = (along.numpy() <= boxes[:, 3] / 2) & (across.numpy() <= boxes[:, 4] / 2)
    rectangles = [Polygon(corners) for corners in bev_corners(boxes)]
    expected = np.array([[one.contains(Point(*place[:2])) for one in rectangles] for place in places])
    np.testing.assert_array_equal(inside, expected)
    assert 0.02 < inside.mean() < 0.5


def test_distances_along_and_across() -> None:
    box = torch.tensor([[1.0, 2, 0, 4, 2, 1, np.pi / 2]])
    along, across = box_offsets(torch.tensor([[0.0, 5.0]]), box)
    torch.testing.assert_close((along, across), (torch.tensor([3.0]), torch.tensor([1.0])))
