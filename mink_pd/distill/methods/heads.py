"""Outputs of the detection head as taps: class scores and box codes of every site."""

from typing import Any

import torch
from torch import Tensor

from mink_pd.distill.methods.base import Channels, Method
from mink_pd.distill.pairs import TapPair
from mink_pd.errors import DistillError
from mink_pd.models.heads.box_layout import BoxLayout


class HeadMethod(Method):
    """A method that compares outputs of the head, which have the same channels in teacher and student.

    Raises DistillError where they differ.
    """

    def __init__(self, name: str, settings: Any, channels: Channels) -> None:
        super().__init__(name, settings, channels)
        for tap, (theirs, ours) in channels.items():
            if theirs != ours:
                raise DistillError(
                    f"distill.{name}.taps: '{tap}' has {theirs} channels in the teacher and {ours} in the student; "
                    "give both the same classes, and the same anchors or tasks"
                )


class BoxMethod(HeadMethod):
    """A head method that reads boxes, or scores box by box. Raises DistillError for a head without such boxes.

    layout: how to read them, once the method is attached.
    """

    layout: BoxLayout

    def attach(self, layout: BoxLayout | None) -> None:
        if layout is None:
            raise DistillError(
                f"distill.methods: {self.name} compares boxes, and this detector's head predicts bins of them;"
                f" leave {self.name} out"
            )
        self.layout = layout

    def box_scores(self, pair: TapPair, rows: Tensor) -> Tensor:
        """The teacher's highest class score (n, A) of each box at ``rows`` (n,) of its head."""
        return self.layout.box_scores(torch.sigmoid(pair.scores()[rows]))


def relative(weights: Tensor) -> Tensor:
    """Weights as a flat tensor of mean 1, for the log of the largest."""
    return weights.flatten() / weights.mean().clamp(min=1e-6) if weights.numel() else weights.flatten()
