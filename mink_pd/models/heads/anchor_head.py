"""The anchor head: class, box and direction for every anchor at every site."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from mink_pd.models.detector import AnchorPrediction
from mink_pd.models.layers.bev import Level
from mink_pd.models.taps import LevelsTap, SiteTap
from mink_pd.sparse import Voxels, with_features

PRIOR = 0.01  # score of every anchor before training (RetinaNet, Lin et al. 2017, section 4.1)


class AnchorHead(nn.Module):
    """Linear maps of the features of each site or cell, i.e. 1 x 1 convolutions, with equal weights at all levels."""

    def __init__(self, channels: int, anchors: int, classes: int, velocity: bool = False) -> None:
        """velocity: predict one for each anchor; published heads do so in columns 7 and 8 of the box."""
        super().__init__()
        self.anchors, self.classes = anchors, classes
        self.score = nn.Linear(channels, anchors * classes)
        self.box = nn.Linear(channels, anchors * 7)
        self.direction = nn.Linear(channels, anchors * 2)
        self.velocity = nn.Linear(channels, anchors * 2) if velocity else None
        for layer in self.layers():
            nn.init.normal_(layer.weight, std=0.01 if layer is self.score else 0.001)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.score.bias, -math.log((1 - PRIOR) / PRIOR))

    def tap_channels(self) -> dict[str, int]:
        """Channels of the outputs that are taps."""
        taps = {"scores": self.score, "boxes": self.box} | ({"velocities": self.velocity} if self.velocity else {})
        return {name: layer.out_features for name, layer in taps.items()}

    def forward(self, levels: list[Level], voxels: Voxels, anchors: Tensor) -> AnchorPrediction:
        """The prediction at the cells (S_i, C) of all levels; anchors (S, A, 7) are ordered by level."""
        x = levels[0].cells if len(levels) == 1 else torch.cat([level.cells for level in levels])  # (S, C)
        frame = torch.cat([level.coordinates[:, 0] for level in levels]).long()  # (S,)
        prediction = self.predict(x, anchors, frame, voxels.frames)
        for name in self.tap_channels():
            values = getattr(prediction, name).flatten(1).split([len(level.cells) for level in levels])
            taps = [
                SiteTap(with_features(level.neck, part[level.rows]), voxels)
                for level, part in zip(levels, values, strict=True)
            ]
            prediction.taps[name] = taps[0] if len(taps) == 1 else LevelsTap(taps)
        return prediction

    def layers(self) -> list[nn.Linear]:
        """The linear maps in the order of ``outputs``."""
        return [layer for layer in (self.score, self.box, self.direction, self.velocity) if layer is not None]

    def outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """Scores, boxes, directions and, if predicted, velocities (S, A * (classes, 7, 2, 2)) of x (S, C).

        All maps are one matrix product: each has few channels, and three narrow products take up to twice the time of a
        wide one. It is never in half precision, in which a box 40 m away would move by centimetres.
        """
        layers = self.layers()
        weight, bias = (torch.cat(parts) for parts in zip(*((x.weight, x.bias) for x in layers), strict=True))
        with torch.autocast(x.device.type, enabled=False):
            outputs = functional.linear(x.to(weight.dtype), weight, bias)  # (S, sum of the maps' channels)
        return outputs.split([layer.out_features for layer in layers], dim=1)

    def multiply_adds(self, levels: list[Level], voxels: Voxels, anchors: Tensor) -> int:
        """Of ``forward``."""
        return sum(level.cells.numel() for level in levels) * sum(layer.out_features for layer in self.layers())

    def nothing(self, frames: int, device: torch.device) -> AnchorPrediction:
        """The prediction for a batch without a point in range."""
        empty = torch.zeros(0, self.score.in_features, device=device)
        frame = torch.zeros(0, dtype=torch.int64, device=device)
        return self.predict(empty, torch.zeros(0, self.anchors, 7, device=device), frame, frames)

    def predict(self, x: Tensor, anchors: Tensor, frame: Tensor, frames: int) -> AnchorPrediction:
        """The prediction, without taps, from features (S, C) with anchors (S, A, 7) in frame (S,) of ``frames``."""
        sites, kinds = len(x), self.anchors
        scores, boxes, directions, *velocities = self.outputs(x)
        return AnchorPrediction(
            scores=scores.view(sites, kinds, self.classes),
            boxes=boxes.view(sites, kinds, 7),
            directions=directions.view(sites, kinds, 2),
            velocities=velocities[0].view(sites, kinds, 2) if velocities else None,
            anchors=anchors,
            frame=frame,
            frames=frames,
        )
