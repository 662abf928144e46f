"""Anchor head: class, box and direction for every anchor of every site."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mink_pd.models.bev import BevFeatures
from mink_pd.models.detector import AnchorPrediction
from mink_pd.sparse import SiteTap, Tap, Voxels, with_features

PRIOR = 0.01  # score of every anchor before training (RetinaNet, Lin et al. 2017, section 4.1)


class AnchorHead(nn.Module):
    """Three linear maps on the features of each site or cell; a 1 x 1 convolution is no more."""

    def __init__(self, channels: int, anchors: int, classes: int) -> None:
        super().__init__()
        self.anchors, self.classes = anchors, classes
        self.score = nn.Linear(channels, anchors * classes)
        self.box = nn.Linear(channels, anchors * 7)
        self.direction = nn.Linear(channels, anchors * 2)
        for layer in (self.score, self.box, self.direction):
            nn.init.normal_(layer.weight, std=0.01 if layer is self.score else 0.001)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.score.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, features: BevFeatures, voxels: Voxels, anchors: Tensor) -> AnchorPrediction:
        """features.cells: (S, C); anchors: (S, A, 7)."""
        scores, boxes, directions = self.outputs(features.cells)
        sites, kinds = len(features.cells), self.anchors
        taps: dict[str, Tap] = {
            name: SiteTap(with_features(features.neck, values[features.rows]), voxels)
            for name, values in (("scores", scores), ("boxes", boxes))
        }
        return AnchorPrediction(
            scores=scores.view(sites, kinds, self.classes),
            boxes=boxes.view(sites, kinds, 7),
            directions=directions.view(sites, kinds, 2),
            anchors=anchors,
            frame=features.coordinates[:, 0].long(),
            frames=voxels.frames,
            taps=taps,
        )

    def outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """scores, boxes, directions (S, A * (classes, 7, 2)) of x (S, C).

        In one product: each map has few channels, and three narrow products take up to twice the time of a wide one.
        """
        layers = (self.score, self.box, self.direction)
        weight, bias = (torch.cat(parts) for parts in zip(*((x.weight, x.bias) for x in layers), strict=True))
        return functional.linear(x, weight, bias).split([layer.out_features for layer in layers], dim=1)

    def multiply_adds(self, features: BevFeatures, voxels: Voxels, anchors: Tensor) -> int:
        """Of ``forward``."""
        return features.cells.numel() * sum(x.out_features for x in (self.score, self.box, self.direction))

    def nothing(self, frames: int, device: torch.device) -> AnchorPrediction:
        """The prediction for a batch without any point in range."""
        scores, boxes, directions = self.outputs(torch.zeros(0, self.score.in_features, device=device))
        return AnchorPrediction(
            scores=scores.view(0, self.anchors, self.classes),
            boxes=boxes.view(0, self.anchors, 7),
            directions=directions.view(0, self.anchors, 2),
            anchors=torch.zeros(0, self.anchors, 7, device=device),
            frame=torch.zeros(0, dtype=torch.int64, device=device),
            frames=frames,
        )
