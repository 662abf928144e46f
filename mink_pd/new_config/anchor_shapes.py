"""Anchors of a class from the sizes and heights of its objects, by k-means."""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import ClusterError, kmeans2

from mink_pd.config.models import AnchorConfig
from mink_pd.new_config.sites import NearSites

# Candidate IoUs from which an anchor is positive. The first one that gives ENOUGH objects a positive anchor is chosen.
MATCHED = np.array([0.6, 0.5, 0.45, 0.4, 0.35])
ENOUGH = 0.85  # share of a class's objects with a positive anchor
GAIN = 0.1  # the least that another shape must add to this share
_BELOW = 0.15  # difference between the IoU thresholds of positives and of negatives
_STARTS, _MOST_SHAPES = 20, 3
_FEWEST, _LEAST_SHARE = 20, 0.1  # minimum number of objects of a shape, and minimum share of the class


@dataclass(frozen=True)
class ClassAnchors:
    """The anchors of one class."""

    shapes: list[AnchorConfig]  # the shape of most objects first
    members: list[float]  # share of the class's objects that belong to each shape
    positives: float  # share of the objects that get a positive anchor by IoU; the others get their best anchor


def cluster(boxes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """k-means of boxes (N, 7) over the logarithms of length, width and height, and over z divided by the mean height.

    Returns the centres (count, 4) as length, width, height, z [m], largest cluster first, and the number of each box's
    cluster (N,). Returns None if every start ends with an empty cluster.
    """
    height = boxes[:, 5].mean()
    points = np.column_stack([np.log(boxes[:, 3:6]), boxes[:, 2] / height])  # (N, 4)
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    for start in range(_STARTS if count > 1 else 1):
        try:
            with warnings.catch_warnings(action="ignore"):
                centres, member = kmeans2(points, count, iter=100, minit="++", missing="raise", rng=start)
        except (ClusterError, ValueError):  # a cluster lost its boxes, or there are fewer sizes than clusters
            continue
        spread = float(((points - centres[member]) ** 2).sum())
        if best is None or spread < best[0] - 1e-9:
            best = spread, centres, member
    if best is None:
        return None
    _, centres, member = best
    order = np.argsort(-np.bincount(member, minlength=count), kind="stable")
    centres = np.column_stack([np.exp(centres[order, :3]), centres[order, 3] * height])
    return centres, np.argsort(order)[member]


def anchors_of(sites: NearSites, boxes: np.ndarray) -> ClassAnchors:
    """The anchors of a class. boxes: (N, 7), its objects; sites: some of these objects with the sites near them.

    The class gets one shape, unless more shapes bring clearly more objects to the highest threshold.
    """
    chosen, reached = _with_shapes(sites, boxes, 1)
    for count in range(2, _MOST_SHAPES + 1):
        more, by_more = _with_shapes(sites, boxes, count)
        if more is not None and by_more >= reached + GAIN:
            chosen, reached = more, by_more
    assert chosen is not None
    return chosen


def _with_shapes(sites: NearSites, boxes: np.ndarray, count: int) -> tuple[ClassAnchors | None, float]:
    """Anchors of ``count`` shapes (None if a shape would have too few objects), and the share of the objects that reach
    the highest threshold."""
    found = cluster(boxes, count)
    if found is None:
        return None, 0.0
    centres, member = found
    members = np.bincount(member, minlength=count)
    if count > 1 and members.min() < max(_FEWEST, _LEAST_SHARE * len(boxes)):
        return None, 0.0
    overlap = sites.overlap([_anchor(centre, 1.0) for centre in centres]).numpy()  # (N,)
    reached = (overlap[:, None] >= MATCHED.astype(np.float32)).sum(axis=0) / max(len(overlap), 1)  # (T,), rising
    row = int(np.argmax(reached >= ENOUGH)) if reached[-1] >= ENOUGH else len(MATCHED) - 1
    shapes = [_anchor(centre, float(MATCHED[row])) for centre in centres]
    return ClassAnchors(shapes, (members / len(boxes)).tolist(), float(reached[row])), float(reached[0])


def typical_anchor(boxes: np.ndarray) -> AnchorConfig:
    """A single anchor for all boxes (N, 7)."""
    found = cluster(boxes, 1)
    assert found is not None
    return _anchor(found[0][0], float(MATCHED[0]))


def _anchor(centre: np.ndarray, matched: float) -> AnchorConfig:
    """The anchor of a cluster centre: length, width, height, z [m]. matched: IoU from which it is positive."""
    length, width, height, z = (round(float(value), 2) for value in centre)
    size = max(length, 0.01), max(width, 0.01), max(height, 0.01)
    return AnchorConfig(size=size, z=z, matched=matched, unmatched=round(max(matched - _BELOW, 0.0), 2))
