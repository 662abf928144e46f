"""Point sets of PointNet++: sampling, grouping, interpolation, and the points of a batch that networks share."""

from mink_pd.points.grouping import ball_query, farthest_points, points_of_boxes
from mink_pd.points.sample import (
    Interpolation,
    Level,
    PointSample,
    abstract,
    abstract_ragged,
    choose_points,
    interpolate,
)

__all__ = [
    "Interpolation",
    "Level",
    "PointSample",
    "abstract",
    "abstract_ragged",
    "ball_query",
    "choose_points",
    "farthest_points",
    "interpolate",
    "points_of_boxes",
]
