"""Detections of an anchor head beside a plain loop over every anchor, in NumPy's float64."""

import math

import numpy as np
import pytest
import torch

from mink_pd.boxes.iou import bev_iou
from mink_pd.config.models import NMSConfig
from mink_pd.models.detector import AnchorPrediction
from mink_pd.models.heads.anchor_decode import detect, lowest_logit
from mink_pd.models.heads.anchors import decode

SITES, ANCHORS, CLASSES, FRAMES = 40, 2, 3, 3
SEEN = [0, 1, 3, 4, 6]  # columns of a box from above


def prediction(spread: float, velocities: bool = False) -> AnchorPrediction:
    """Random outputs at random sites; frame 1 has none. ``spread``: of the logits."""
    random = torch.Generator().manual_seed(0)
    wide = torch.randn(SITES, ANCHORS * (CLASSES + 9), generator=random)  # as the head's one product gives it
    scores, boxes, directions = wide.split([ANCHORS * CLASSES, ANCHORS * 7, ANCHORS * 2], dim=1)
    places = torch.rand(SITES, ANCHORS, 2, generator=random) * 12
    size = torch.tensor([-1.0, 3.9, 1.6, 1.5, 0.0]).expand(SITES, ANCHORS, 5)
    return AnchorPrediction(
        scores=(scores * spread).view(SITES, ANCHORS, CLASSES), boxes=0.1 * boxes.view(SITES, ANCHORS, 7),
        directions=directions.view(SITES, ANCHORS, 2), anchors=torch.cat([places, size], dim=2),
        frame=torch.randint(0, 2, (SITES,), generator=random) * 2, frames=FRAMES,
        velocities=torch.randn(SITES, ANCHORS, 2, generator=random) if velocities else None,
    )  # fmt: skip


def plainly(given: AnchorPrediction, settings: NMSConfig, offset: float) -> list[list[tuple]]:
    """(score, label, site, anchor, box) of each frame's detections, best first."""
    boxes = decode(given.boxes.double(), given.anchors.double()).numpy()
    result = []
    for frame in range(given.frames):
        found = []
        for label in range(CLASSES):
            every = [
                (1 / (1 + math.exp(-float(given.scores[site, anchor, label]))), label, site, anchor)
                for site in range(SITES)
                for anchor in range(ANCHORS)
                if int(given.frame[site]) == frame
            ]
            order = sorted((one for one in every if one[0] >= settings.score), key=lambda one: -one[0])
            kept: list[tuple] = []
            for one in order[: settings.before]:
                box = boxes[one[2], one[3]].copy()
                away = float(given.directions[one[2], one[3], 1] > given.directions[one[2], one[3], 0])
                box[6] = (box[6] - offset) % math.pi + offset + math.pi * away
                if (
                    not kept
                    or bev_iou(box[None, SEEN], np.stack([other[4] for other in kept])[:, SEEN]).max() <= settings.iou
                ):
                    kept.append((*one, box))
            found += kept
        result.append(sorted(found, key=lambda one: -one[0])[: settings.after])
    return result


@pytest.mark.parametrize("spread", [0.3, 3.0])
@pytest.mark.parametrize("score", [0.0, 0.2, 0.5, 0.999999])
@pytest.mark.parametrize("limits", [(1000, 500), (7, 9)], ids=str)
def test_detections_are_those_of_a_loop_over_every_anchor(spread: float, score: float, limits: tuple) -> None:
    given = prediction(spread, velocities=True)
    settings = NMSConfig(score=score, iou=0.2, before=limits[0], after=limits[1])
    found, wanted = detect(given, settings, 0.7), plainly(given, settings, 0.7)
    assert [len(one.boxes) for one in found] == [len(one) for one in wanted]
    assert sum(len(one) for one in wanted) > 0 or score > 0.9
    assert given.velocities is not None
    for ours, theirs in zip(found, wanted, strict=True):
        if not theirs:
            continue
        scores, labels, sites, anchors, boxes = zip(*theirs, strict=True)
        np.testing.assert_allclose(ours.scores, scores, rtol=1e-6)
        assert ours.labels.tolist() == list(labels)
        angle = ours.boxes[:, 6].numpy() - np.stack(boxes)[:, 6]
        np.testing.assert_allclose(np.cos(angle), 1, atol=1e-5)
        np.testing.assert_allclose(ours.boxes[:, :6], np.stack(boxes)[:, :6], rtol=1e-5, atol=1e-5)
        assert ours.velocities is not None
        assert torch.equal(ours.velocities, given.velocities[list(sites), list(anchors)])


def test_the_lowest_logit_leaves_out_no_score() -> None:
    """Around every threshold the float32 logits whose sigmoid reaches it are above the bound."""
    for score in [0.0, 1e-7, 1e-3, 0.1, 0.25, 0.5, 0.9, 0.9999, 0.99999, 1 - 1e-7, 1.0]:
        near = math.log(max(score, 1e-30)) - math.log(max(1 - score, 1e-8))
        logits = torch.linspace(near - 3, near + 3, 200_001)
        logits = torch.cat([logits, torch.tensor([-1000.0, -100.0, 17.0, 1000.0])])
        reached = logits[torch.sigmoid(logits) >= score]
        assert len(reached) > 0
        assert float(reached.min()) >= lowest_logit(score)
