"""Anchors of a class beside exhaustive searches: k-means over all partitions, positives over all sites and anchors."""

from itertools import product

import numpy as np
import pytest
import torch
from labelled_street import SIZES, street
from shapely.geometry import box as rectangle

from mink_pd.config import Config
from mink_pd.config.models import AnchorConfig
from mink_pd.data.loading.batch import collate
from mink_pd.data.loading.epochs import crop_points
from mink_pd.models import build_detector
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.new_config.anchor_shapes import anchors_of, cluster
from mink_pd.new_config.sites import NearSites, find_sites

RANGE = (-40.0, -40.0, -3.0, 40.0, 40.0, 3.0)


def boxes_of(sizes: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    places = np.column_stack([rng.uniform(-30, 30, (len(sizes), 2)), rng.uniform(-1.2, -0.8, len(sizes))])
    return np.column_stack([places, sizes, rng.uniform(-3, 3, len(sizes))])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_clusters_are_the_best_of_all_partitions(count: int) -> None:
    rng = np.random.default_rng(count)
    boxes = boxes_of(rng.uniform([1, 1, 1], [9, 3, 4], (8, 3)), seed=count)
    height = boxes[:, 5].mean()
    points = np.column_stack([np.log(boxes[:, 3:6]), boxes[:, 2] / height])

    def spread(member: np.ndarray) -> float:
        return sum(
            float(((points[member == k] - points[member == k].mean(0)) ** 2).sum()) for k in np.unique(member)
        )  # fmt: skip

    best = min(spread(np.array(member)) for member in product(range(count), repeat=len(boxes)))
    found = cluster(boxes, count)
    assert found is not None
    centres, member = found
    assert spread(member) == pytest.approx(best, rel=1e-6)
    assert (np.diff(np.bincount(member, minlength=count)) <= 0).all()  # the largest first
    for number, centre in enumerate(centres):
        own = points[member == number].mean(0)
        np.testing.assert_allclose(centre, [*np.exp(own[:3]), own[3] * height], rtol=1e-6)


def test_fewer_sizes_than_shapes_give_none() -> None:
    assert cluster(boxes_of(np.tile([[4.0, 2.0, 1.5]], (1, 1))), 2) is None


@pytest.fixture(scope="module")
def detector() -> AnchorDetector:
    anchor = {"size": [4, 2, 1.5], "z": -1, "matched": 0.6, "unmatched": 0.45}
    small = {"pillar_channels": 4, "channels": [4, 4, 4], "layers": [0, 0, 0], "neck_channels": 4}
    model = {"voxel_size": [0.25, 0.25, 6], "anchors": dict.fromkeys(SIZES, anchor), **small}
    built = build_detector(Config.model_validate({"data": {"classes": list(SIZES), "range": RANGE}, "model": model}))
    assert isinstance(built, AnchorDetector)
    return built.eval()


def test_shares_are_those_of_all_anchors_of_the_head(detector: AnchorDetector) -> None:
    """The sites are the head's, and of each object no anchor elsewhere overlaps it more."""
    frames = [street(seed) for seed in range(3)]
    sites = find_sites(detector, frames)
    car = AnchorConfig(size=(4.4, 1.9, 1.6), z=-1.0, matched=0.6, unmatched=0.45)
    ours = sites.overlap([car])
    theirs = []
    for frame in frames:
        with torch.no_grad():
            places = detector(collate([crop_points(frame, RANGE)], detector.classes)).anchors[:, 0, :2].numpy()
        for x, y, _, length, width, _, yaw in frame.boxes.tolist():
            lies = abs((yaw + np.pi / 4) % np.pi) >= np.pi / 2
            half = (width / 2, length / 2) if lies else (length / 2, width / 2)
            target = rectangle(x - half[0], y - half[1], x + half[0], y + half[1])
            best = 0.0
            for u, v in places[np.linalg.norm(places - (x, y), axis=1) < 9]:
                for a, b in ((2.2, 0.95), (0.95, 2.2)):
                    anchor = rectangle(u - a, v - b, u + a, v + b)
                    shared = anchor.intersection(target).area
                    best = max(best, shared / (anchor.area + target.area - shared))
            theirs.append(best)
    own = [row for row, name in enumerate(name for frame in frames for name in frame.names) if name == "Car"]
    np.testing.assert_allclose(ours.numpy()[own], np.array(theirs)[own], atol=2e-5)


def everywhere(boxes: np.ndarray, cell: float, reach: float = 7) -> NearSites:
    """Sites at every cell near the boxes (N, 7), all of class 0."""
    rows, places = [], []
    for row, box in enumerate(boxes):
        steps = np.arange(-reach, reach, cell)
        grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) + np.round(box[:2] / cell) * cell
        rows += [row] * len(grid)
        places.append(grid)
    return NearSites(
        torch.from_numpy(boxes).float(),
        torch.zeros(len(boxes), dtype=torch.int64),
        torch.tensor(rows),
        torch.from_numpy(np.concatenate(places)).float(),
    )


def test_two_sizes_in_a_class_get_two_shapes_and_one_size_one() -> None:
    rng = np.random.default_rng(3)
    vans = np.array([[5.0, 2.0, 2.2]]) * rng.uniform(0.95, 1.05, (60, 1))
    lorries = np.array([[12.0, 2.6, 3.6]]) * rng.uniform(0.95, 1.05, (40, 1))
    both = boxes_of(np.concatenate([vans, lorries]))
    anchors = anchors_of(everywhere(both, 0.5), both)
    assert anchors.members == [0.6, 0.4]
    assert anchors.positives > 0.95
    np.testing.assert_allclose([shape.size for shape in anchors.shapes], [[5, 2, 2.2], [12, 2.6, 3.6]], rtol=0.03)
    assert anchors.shapes[0].matched == 0.6
    alone = boxes_of(vans)
    assert len(anchors_of(everywhere(alone, 0.5), alone).shapes) == 1
    few = boxes_of(np.concatenate([vans, lorries[:5]]))  # five lorries are too few for a shape of their own
    assert len(anchors_of(everywhere(few, 0.5), few).shapes) == 1


def test_small_objects_on_coarse_cells_get_a_lower_threshold() -> None:
    rng = np.random.default_rng(4)
    people = boxes_of(np.array([[0.8, 0.6, 1.75]]) * rng.uniform(0.95, 1.05, (80, 1)))
    fine, coarse = (anchors_of(everywhere(people, cell, reach=1), people) for cell in (0.1, 0.5))
    assert fine.shapes[0].matched > coarse.shapes[0].matched
    assert coarse.shapes[0].unmatched == pytest.approx(coarse.shapes[0].matched - 0.15)
