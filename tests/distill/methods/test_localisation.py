"""Localisation distillation against loops over bins."""

import math

import pytest
import torch
from random_taps import ANCHORS, RandomTaps

from mink_pd.distill.methods.localisation import Localisation, LocalisationConfig
from mink_pd.distill.methods.regions import near_objects
from mink_pd.errors import DistillError

SETTINGS = LocalisationConfig(bins=9, reach=0.8, width=0.2)
CHANNELS = {"boxes": (ANCHORS * 7, ANCHORS * 7)}


def distribution(residual: float, angle: bool) -> list[float]:
    if angle:
        far = [abs(math.sin(math.pi * k / 9 - residual)) for k in range(9)]
    else:
        far = [abs(-0.8 + 0.2 * k - residual) for k in range(9)]
    powers = [math.exp(-x / 0.2) for x in far]
    return [power / sum(powers) for power in powers]


def test_loss_is_the_papers() -> None:
    taps = RandomTaps(80, 0, 60)
    pair = taps.head("boxes")
    loss, _ = Localisation("localisation", SETTINGS, CHANNELS).compare(pair)
    rows = torch.cat(near_objects(pair, 0.25)).tolist()
    total = weights = 0.0
    for row in rows:
        for anchor in range(ANCHORS):
            score = float(torch.sigmoid(taps.guide["scores"].features[row, 3 * anchor : 3 * anchor + 3]).max())
            weights += score
            for parameter in range(7):
                column = 7 * anchor + parameter
                p, q = (
                    distribution(float(tap.features[row, column]), parameter == 6)
                    for tap in (pair.teacher, pair.student)
                )
                total += score * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert len(rows) > 5
    assert loss.item() == pytest.approx(total / weights, rel=1e-4)


def test_half_a_turn_costs_nothing() -> None:
    pair = RandomTaps(80).head("boxes")
    turned = pair.teacher.features.clone()
    turned[:, 6::7] += math.pi
    pair.student = type(pair.teacher)(pair.teacher.voxels.tensor(turned), pair.teacher.voxels)
    loss, _ = Localisation("localisation", SETTINGS, CHANNELS).compare(pair)
    assert abs(loss.item()) < 1e-5


def test_a_head_that_has_no_residuals_is_refused() -> None:
    with pytest.raises(DistillError, match=r"distill\.localisation\.taps.*'boxes' has 40 channels.*7 an anchor"):
        Localisation("localisation", SETTINGS, {"boxes": (40, 40)})
