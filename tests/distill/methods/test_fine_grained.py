"""Fine-grained imitation: the mask against shapely, the loss against loops."""

import numpy as np
import pytest
import torch
from random_taps import RandomTaps
from shapely.affinity import translate
from shapely.geometry import Polygon

from mink_pd.boxes.geometry import bev_corners
from mink_pd.distill.methods.fine_grained import FineGrained, FineGrainedConfig
from mink_pd.distill.methods.near_objects import near_objects


def near_by_shapely(taps: RandomTaps, share: float) -> list[list[int]]:
    """Rows of each frame whose moved box overlaps an object by more than ``share`` of the object's best."""
    pair, result = taps.head("scores"), []
    for frame, boxes in enumerate(taps.batch.boxes):
        rows = (pair.teacher.frame == frame).nonzero()[:, 0].tolist()
        found = set()
        for box in boxes.double().numpy():
            own = Polygon(bev_corners(box[None])[0])
            overlap = {}
            for row in rows:
                moved = translate(own, *(pair.teacher.centres[row].double().numpy() - box[:2]))
                overlap[row] = own.intersection(moved).area / own.union(moved).area
            limit = share * max(overlap.values(), default=0)
            found |= {row for row in rows if overlap[row] > limit}
        result.append(sorted(found))
    return result


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_near_rows_are_shapelys(share: float) -> None:
    taps = RandomTaps(80, 0, 120)
    found = [rows.tolist() for rows in near_objects(taps.head("scores"), share)]
    assert found == near_by_shapely(taps, share)
    assert 5 < len(found[2]) < len(taps.voxels) / 4
    assert found[1] == []


def test_loss_is_the_papers() -> None:
    taps = RandomTaps(80, 120)
    pair = taps.features(5, 3)
    method = FineGrained("fine_grained", FineGrainedConfig(), {"bev": (5, 3)})
    loss, logs = method.compare(pair)
    rows = [row for rows in near_by_shapely(taps, 0.5) for row in rows]
    total = sum(
        (pair.teacher.features[row] - method.adapters["bev"](pair.student.features[row])).square().sum().item()
        for row in rows
    )
    assert loss.item() == pytest.approx(total / (2 * len(rows)), rel=1e-4)
    assert float(logs["inside"]) > 0.5


def test_a_batch_without_objects_has_no_loss() -> None:
    taps = RandomTaps(40)
    taps.batch.boxes, taps.batch.labels = [torch.zeros(0, 7)], [torch.zeros(0, dtype=torch.int64)]
    loss, logs = FineGrained("fine_grained", FineGrainedConfig(), {"bev": (5, 3)}).compare(taps.features(5, 3))
    loss.backward()
    assert loss.item() == 0
    assert not np.isnan([float(value) for value in logs.values()]).any()
