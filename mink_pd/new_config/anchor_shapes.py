"""Anchors of a class from the sizes and heights of its objects, by k-means."""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import ClusterError, kmeans2

from mink_pd.config.models import AnchorConfig
from mink_pd.new_config.sites import NearSites

MATCHED = np.array([0.6, 0.5, 0.45, 0.4, 0.35])  # IoU from which an anchor is positive: the first with ENOUGH objects
ENOUGH, GAIN = 0.85, 0.1  # share of objects with a positive; what another shape must add to it
_BELOW = 0.15  # from the IoU of positives to that of negatives
_STARTS, _MOST_SHAPES = 20, 3
_FEWEST, _LEAST_SHARE = 20, 0.1  # objects of a shape, and their share of the class


@dataclass(frozen=True)
class ClassAnchors:
    """The anchors of one class: shapes, largest share first, with each one's share of the objects. positives: the share
    of the objects that get a positive anchor by IoU; the others get their best anchor."""

    shapes: list[AnchorConfig]
    members: list[float]
    positives: float


def cluster(boxes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """k-means of boxes (N, 7) over log length, width, height, and z over the mean height.

    Centres (count, 4), as length, width, height, z [m], the largest cluster first, and the number of each box's
    cluster (N,). None where no start leaves ``count`` clusters with a box.
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
    """The anchors of a class of which ``boxes`` (N, 7) are the objects, and ``sites`` some of them with their sites.

    One shape, unless more of them bring clearly more objects to the highest threshold.
    """
    chosen, reached = _with_shapes(sites, boxes, 1)
    for count in range(2, _MOST_SHAPES + 1):
        more, by_more = _with_shapes(sites, boxes, count)
        if more is not None and by_more >= reached + GAIN:
            chosen, reached = more, by_more
    assert chosen is not None
    return chosen


def _with_shapes(sites: NearSites, boxes: np.ndarray, count: int) -> tuple[ClassAnchors | None, float]:
    """Anchors of so many shapes, None where a shape would have too few objects; and the share of the objects that reach
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
    """One anchor for boxes (N, 7)."""
    found = cluster(boxes, 1)
    assert found is not None
    return _anchor(found[0][0], float(MATCHED[0]))


def _anchor(centre: np.ndarray, matched: float) -> AnchorConfig:
    """centre: length, width, height, z [m]."""
    length, width, height, z = (round(float(value), 2) for value in centre)
    size = max(length, 0.01), max(width, 0.01), max(height, 0.01)
    return AnchorConfig(size=size, z=z, matched=matched, unmatched=round(max(matched - _BELOW, 0.0), 2))
