"""Logits at pivotal positions against loops, head by head."""

import math

import pytest
import torch
from random_taps import ANCHORS, LAYOUT, RandomTaps, best_rows

from mink_pd.distill.methods.sparsekd import SparseKD, SparseKDConfig

CHANNELS = {"scores": (ANCHORS * 3, ANCHORS * 3), "boxes": (ANCHORS * 7, ANCHORS * 7)}


@pytest.mark.parametrize("name", ["scores", "boxes"])
def test_loss_is_the_papers(name: str) -> None:
    taps = RandomTaps(40, 0, 30)
    pair = taps.head(name)
    settings = SparseKDConfig(rows=5, classification=3.0, box=0.5)
    method = SparseKD("sparsekd", settings, CHANNELS)
    method.attach(LAYOUT)
    loss, _ = method.compare(pair)
    confidence = torch.sigmoid(taps.guide["scores"].features)
    rows = [row for frame in range(3) for row in best_rows(confidence.amax(dim=1), pair.teacher.frame, frame, 5)]
    assert len(rows) == 10
    total = weights = 0.0
    for row in rows:
        theirs, ours = pair.teacher.features[row], pair.student.features[row]
        if name == "scores":
            mask = float(confidence[row].max())
            weights += mask
            total += 3.0 * mask * float((theirs.sigmoid() - ours.sigmoid()).square().sum())
        else:
            for anchor in range(ANCHORS):
                mask = float(confidence[row, 3 * anchor : 3 * anchor + 3].max())
                weights += mask
                each = [float(theirs[7 * anchor + k] - ours[7 * anchor + k]) for k in range(7)]
                total += 0.5 * mask * (sum(map(abs, each[:6])) + abs(math.sin(each[6])))
    assert loss.item() == pytest.approx(total / weights, rel=1e-4)
