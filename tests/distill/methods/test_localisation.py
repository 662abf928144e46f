"""Localisation distillation against loops over bins."""

import math
from dataclasses import replace

import pytest
import torch
from random_taps import ANCHORS, LAYOUT, RandomTaps

from mink_pd.distill.methods.localisation import Localisation, LocalisationConfig
from mink_pd.distill.methods.near_objects import near_objects
from mink_pd.errors import DistillError
from mink_pd.models.heads.box_layout import BoxLayout

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
    method = Localisation("localisation", SETTINGS, CHANNELS)
    method.attach(LAYOUT)
    loss, _ = method.compare(pair)
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
    method = Localisation("localisation", SETTINGS, CHANNELS)
    method.attach(LAYOUT)
    loss, _ = method.compare(pair)
    assert abs(loss.item()) < 1e-5


def test_a_head_that_has_no_codes_is_refused() -> None:
    with pytest.raises(DistillError, match=r"localisation compares boxes, and this detector's head predicts bins"):
        Localisation("localisation", SETTINGS, {"boxes": (40, 40)}).attach(None)


def test_numbers_of_a_centre_head_are_brought_to_the_bins() -> None:
    """Two layouts of the same boxes: numbers as they are, and numbers moved and stretched that the layout undoes."""
    pair = RandomTaps(80, 0, 60).head("boxes")
    middle, spread = (0.5, 0.5, -1.0, 0.6, 0.6, 0.6, 0.0, 0.0), (0.5, 0.5, 2.0, 1.5, 1.5, 1.5, 1.0, 1.0)
    owner, losses = LAYOUT.owner, []
    for stretched in (False, True):
        layout = BoxLayout(owner, *((middle, spread) if stretched else ((0.0,) * 8, (1.0,) * 8)))
        taps = []
        for tap in (pair.teacher, pair.student):
            codes = torch.cat([tap.features, tap.features[:, :ANCHORS]], dim=1).view(-1, ANCHORS, 8)
            codes = codes * torch.tensor(spread) + torch.tensor(middle) if stretched else codes
            taps.append(type(tap)(tap.voxels.tensor(codes.flatten(1)), tap.voxels))
        method = Localisation("localisation", SETTINGS, CHANNELS)
        method.attach(layout)
        losses.append(method.compare(replace(pair, teacher=taps[0], student=taps[1]))[0].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
