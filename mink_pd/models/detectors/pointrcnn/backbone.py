"""PointNet++ (Qi et al., NeurIPS 2017) with multi-scale grouping, down to a few points and back to all points."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mink_pd.config.pointrcnn import SetAbstractionConfig
from mink_pd.models.detectors.pointrcnn.fused import Affine, compiled_for, run_rows
from mink_pd.models.detectors.pointrcnn.pointnet import MLP, GroupedMLP, InterpolatedMLP, mlp
from mink_pd.points import Level, PointSample

Width = Callable[[int], int]


class SetAbstraction(nn.Module):
    """One grouped MLP per radius around each sampled point; their outputs are concatenated."""

    def __init__(self, channels: int, stage: SetAbstractionConfig, width: Width, epsilon: float = 1e-5) -> None:
        super().__init__()
        scales = [[width(c) for c in scale] for scale in stage.channels]
        self.mlps = nn.ModuleList(GroupedMLP([channels, *scale], epsilon) for scale in scales)
        self.out = sum(scale[-1] for scale in scales)

    def forward(self, xyz: Tensor, features: Tensor, level: Level) -> Tensor:
        """xyz (..., 3) of S rows, features (S, C) -> (M, C') of the level's M points"""
        places, centres = xyz.reshape(-1, 3), level.xyz.view(-1, 3)  # (S, 3), (M, 3)
        scales = zip(self.mlps, level.groups, strict=True)
        return torch.cat([m(places, features, centres, rows) for m, rows in scales], dim=1)


class Backbone(nn.Module):
    """Set abstractions down to the coarsest level, then feature propagations back to all points."""

    def __init__(
        self, stages: list[SetAbstractionConfig], propagation: list[list[int]], width: Width, epsilon: float
    ) -> None:
        """epsilon: of the set abstractions' batch norms."""
        super().__init__()
        channels = [1]  # per level, from all points, whose feature is the intensity, to the coarsest level
        self.down = nn.ModuleList()
        for stage in stages:
            abstraction = SetAbstraction(channels[-1], stage, width, epsilon)
            self.down.append(abstraction)
            channels.append(abstraction.out)
        self.up = nn.ModuleList()
        coarse = channels.pop()
        for wanted in propagation:
            layers = [width(c) for c in wanted]
            self.up.append(InterpolatedMLP(coarse, channels.pop(), layers))
            coarse = layers[-1]
        self.out = coarse

    def forward(self, sample: PointSample) -> Tensor:
        """Features (F * N, C) of all points."""
        xyz, features = sample.points[..., :3], [sample.rows[:, 3:4]]
        for abstraction, level in zip(self.down, sample.levels, strict=True):
            features.append(abstraction(xyz, features[-1], level))
            xyz = level.xyz
        x = features.pop()  # (F * 64, 1024)
        for propagation, way in zip(self.up, reversed(sample.interpolations), strict=True):
            x = propagation(x, features.pop(), way)
        return x  # (F * N, 128)


class MLPWithOutput(nn.Sequential):
    """An MLP, and a linear layer without ReLU."""

    def __init__(self, hidden: MLP, output: nn.Linear) -> None:
        super().__init__(hidden, output)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C) -> (n, C')"""
        hidden, output = self
        assert isinstance(hidden, MLP)
        assert isinstance(output, nn.Linear)
        compiled = compiled_for(x, self)
        if compiled is None:
            return output(hidden(x))
        return run_rows(compiled, x, [*hidden.affines(), Affine.of(output.weight, output.bias)], relu=False)


class PointHead(nn.Module):
    """Two MLPs on rows, for class scores and for a box code."""

    def __init__(self, channels: int, hidden: list[int], classes: int, code: int, prior: float) -> None:
        """prior: score of every class before training."""
        super().__init__()
        score = _last(hidden[-1], classes, 0.01)
        nn.init.constant_(score.bias, torch.tensor(prior).logit().item())
        self.score = MLPWithOutput(mlp([channels, *hidden]), score)
        self.box = MLPWithOutput(mlp([channels, *hidden]), _last(hidden[-1], code, 0.001))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (n, C) -> logits (n, classes), box codes (n, code)"""
        return self.score(x), self.box(x)


def _last(channels: int, out: int, deviation: float) -> nn.Linear:
    layer = nn.Linear(channels, out)
    nn.init.normal_(layer.weight, std=deviation)
    nn.init.zeros_(layer.bias)
    return layer
