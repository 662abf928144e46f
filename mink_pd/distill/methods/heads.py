"""Outputs of the detection head as taps: classes and box residuals of every anchor at a site."""

from typing import Any

import torch
from torch import Tensor

from mink_pd.distill.importance import tap_of
from mink_pd.distill.methods.method import Channels, Method
from mink_pd.distill.pairs import TapPair
from mink_pd.errors import DistillError

BOX = 7  # residuals an anchor


class HeadMethod(Method):
    """A method that compares outputs of the head, which have the same channels in teacher and student.

    Raises DistillError where they differ, or where ``boxes`` are no residuals of anchors.
    """

    def __init__(self, name: str, settings: Any, channels: Channels) -> None:
        super().__init__(name, settings, channels)
        for tap, (theirs, ours) in channels.items():
            if theirs != ours or (tap == "boxes" and theirs % BOX):
                remedy = f"it must be {BOX} an anchor" if theirs == ours else "give both the same classes and anchors"
                raise DistillError(
                    f"distill.{name}.taps: '{tap}' has {theirs} channels in the teacher and {ours} in the student; "
                    + remedy
                )


def anchor_scores(pair: TapPair, rows: Tensor) -> Tensor:
    """The teacher's highest class score (n, A) of each anchor at ``rows`` (n,) of its head."""
    scores, boxes = (tap_of(name, pair.guide).features for name in ("scores", "boxes"))
    anchors = boxes.shape[1] // BOX
    return torch.sigmoid(scores[rows]).view(len(rows), anchors, scores.shape[1] // anchors).amax(dim=2)


def relative(weights: Tensor) -> Tensor:
    """Weights as a flat tensor of mean 1, for the log of the largest."""
    return weights.flatten() / weights.mean().clamp(min=1e-6) if weights.numel() else weights.flatten()
