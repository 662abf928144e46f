"""Anchor head: class, box and direction for every anchor of every site."""

import math

import torch
from torch import Tensor, nn

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
        x = features.cells
        scores, boxes, directions = self.score(x), self.box(x), self.direction(x)
        sites, kinds = len(x), self.anchors
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

    def nothing(self, frames: int, device: torch.device) -> AnchorPrediction:
        """The prediction for a batch without any point in range."""
        empty = torch.zeros(0, self.score.in_features, device=device)
        return AnchorPrediction(
            scores=self.score(empty).view(0, self.anchors, self.classes),
            boxes=self.box(empty).view(0, self.anchors, 7),
            directions=self.direction(empty).view(0, self.anchors, 2),
            anchors=torch.zeros(0, self.anchors, 7, device=device),
            frame=torch.zeros(0, dtype=torch.int64, device=device),
            frames=frames,
        )
