"""The anchor head: class, box and direction for every anchor at every site."""

import math
from collections.abc import Callable
from functools import cache, cached_property, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from mink_pd.models.detector import AnchorOutputs, AnchorPrediction, Prediction
from mink_pd.models.layers.bev import Level
from mink_pd.models.taps import LevelsTap, SiteTap
from mink_pd.sparse import Voxels, linear_and_rows, some_rows

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

    def forward(self, levels: list[Level], voxels: Voxels, anchors: Tensor) -> "HeadPrediction":
        """The prediction at the cells (S_i, C) of all levels; anchors (S, A, 7) are ordered by level."""
        x = levels[0].cells if len(levels) == 1 else torch.cat([level.cells for level in levels])  # (S, C)
        frame = torch.cat([level.coordinates[:, 0] for level in levels]).long()  # (S,)
        prediction = self.predict(x, anchors, frame, voxels.frames)
        sizes = [len(level.cells) for level in levels]
        scores, late = prediction.scores, prediction.late

        @cache
        def by_level(name: str) -> tuple[Tensor, ...]:
            """An output (S_i, channels) at the cells of each level."""
            values = scores if name == "scores" else getattr(late, name)
            return values.flatten(1).split(sizes)

        for name in self.tap_channels():
            taps = [
                SiteTap(level.neck, voxels, partial(_at_sites, by_level, name, number, level.rows))
                for number, level in enumerate(levels)
            ]
            prediction.taps[name] = taps[0] if len(taps) == 1 else LevelsTap(taps)
        return prediction

    def layers(self) -> list[nn.Linear]:
        """The linear maps in the order of ``outputs``."""
        return [layer for layer in (self.score, self.box, self.direction, self.velocity) if layer is not None]

    def outputs(self, x: Tensor, some: slice = slice(None)) -> tuple[Tensor, ...]:
        """Scores, boxes, directions and, if predicted, velocities (S, A * (classes, 7, 2, 2)) of x (S, C), or some of
        them.

        All maps are one matrix product: each has few channels, and three narrow products take up to twice the time of a
        wide one. It is never in half precision, in which a box 40 m away would move by centimetres.
        """
        layers = self.layers()[some]
        weight, bias = (torch.cat(parts) for parts in zip(*((x.weight, x.bias) for x in layers), strict=True))
        with torch.autocast(x.device.type, enabled=False):
            outputs = functional.linear(x.to(weight.dtype), weight, bias)  # (S, sum of the maps' channels)
        return outputs.split([layer.out_features for layer in layers], dim=1)

    def multiply_adds(self, levels: list[Level], voxels: Voxels, anchors: Tensor) -> int:
        """Of ``forward``."""
        return sum(level.cells.numel() for level in levels) * sum(layer.out_features for layer in self.layers())

    def nothing(self, frames: int, device: torch.device) -> "HeadPrediction":
        """The prediction for a batch without a point in range."""
        empty = torch.zeros(0, self.score.in_features, device=device)
        frame = torch.zeros(0, dtype=torch.int64, device=device)
        return self.predict(empty, torch.zeros(0, self.anchors, 7, device=device), frame, frames)

    def predict(self, x: Tensor, anchors: Tensor, frame: Tensor, frames: int) -> "HeadPrediction":
        """The prediction, without taps, from features (S, C) with anchors (S, A, 7) in frame (S,) of ``frames``."""
        with torch.autocast(x.device.type, enabled=False):  # see outputs()
            scores, for_some = linear_and_rows(x.to(self.score.weight.dtype), self.score.weight, self.score.bias)
        scores = scores.view(len(x), self.anchors, self.classes)
        return HeadPrediction.of(scores, LateOutputs(self, for_some), anchors, frame, frames)


class LateOutputs:
    """The outputs of a head that follow the scores: of all sites when they are first read, or of some anchors."""

    def __init__(self, head: AnchorHead, features: Tensor) -> None:
        """features: (S, C) of the sites."""
        self._head, self._features = head, features
        self._gradients = torch.is_grad_enabled()  # what is read later belongs to the same forward pass

    def at(self, site: Tensor, anchor: Tensor) -> AnchorOutputs:
        """Of N anchors, given by sites (N,) and their numbers there (N,)."""
        rows = some_rows(self._features, site)  # (N, C)
        own = torch.arange(len(site), device=site.device), anchor
        return AnchorOutputs(*(part[own] for part in self._of(rows, slice(1, None))))

    @cached_property
    def boxes(self) -> Tensor:
        return self._of(self._features, slice(1, 2))[0]

    @cached_property
    def directions(self) -> Tensor:
        return self._of(self._features, slice(2, 3))[0]

    @cached_property
    def velocities(self) -> Tensor | None:
        return None if self._head.velocity is None else self._of(self._features, slice(3, 4))[0]

    def _of(self, x: Tensor, some: slice) -> list[Tensor]:
        """Boxes (N, A, 7), directions (N, A, 2) and velocities (N, A, 2) of features (N, C), or some of them."""
        with torch.set_grad_enabled(self._gradients):
            return [part.unflatten(1, (self._head.anchors, -1)) for part in self._head.outputs(x, some)]


class HeadPrediction(AnchorPrediction):
    """A head's prediction. Only the scores of all anchors are computed at once. A loss needs the other outputs at
    positive anchors, and decoding needs them at candidates: a few hundred of more than 10,000 sites per frame."""

    late: LateOutputs

    @classmethod
    def of(cls, scores: Tensor, late: LateOutputs, anchors: Tensor, frame: Tensor, frames: int) -> "HeadPrediction":
        """Scores (S, A, classes), anchors (S, A, 7) and frame (S,)."""
        prediction = cls.__new__(cls)  # the constructor takes the outputs that are not computed yet
        Prediction.__init__(prediction, frames=frames)
        prediction.scores, prediction.late, prediction.anchors, prediction.frame = scores, late, anchors, frame
        return prediction

    def at(self, site: Tensor, anchor: Tensor) -> AnchorOutputs:
        known = vars(self).keys() & {"boxes", "directions", "velocities"}  # read already, or set
        return super().at(site, anchor) if known else self.late.at(site, anchor)

    @cached_property
    def boxes(self) -> Tensor:  # type: ignore[override]  # can be set, as in the base class
        return self.late.boxes

    @cached_property
    def directions(self) -> Tensor:  # type: ignore[override]  # can be set, as in the base class
        return self.late.directions

    @cached_property
    def velocities(self) -> Tensor | None:  # type: ignore[override]  # can be set, as in the base class
        return self.late.velocities


def _at_sites(by_level: Callable[[str], tuple[Tensor, ...]], name: str, number: int, rows: Tensor | slice) -> Tensor:
    """An output (N, channels) at rows of a level."""
    return by_level(name)[number][rows]
