"""A trained detector as two ordinary dense networks, cut at the scatter of pillars into a canvas.

A sparse convolution equals a dense one whose result is multiplied by the mask of its sites, 1 at a site and 0
elsewhere. The sites follow from the occupied cells of the canvas. Those of a strided convolution are floor(c / stride),
so max-pooling with kernel = stride gives their mask. Those of a neck's level follow by repeating the last stage's mask.
At each site, the dense network therefore computes the same as the sparse one.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mink_pd.errors import ConfigError
from mink_pd.export.heads import HeadMaps
from mink_pd.export.layers import folded, folded_linear
from mink_pd.models.layers.bev import BevNetwork, SparseBev
from mink_pd.models.layers.necks import DenseFpn, SparseFpn
from mink_pd.models.layers.pillars import PillarFeatureNet

# Written into channel 0 of a site whose features are all 0, so that its cell of the canvas is not empty. The value is
# exact in float16 (as a subnormal) and changes outputs by no more than float32 rounding does.
MARK = 2.0**-20


class PillarEncoder(nn.Module):
    """Points' features in slots (M, N, F) -> pillar features (M, C).

    A slot of zeros is empty. It takes part in the maximum only if the detector was trained that way.
    """

    def __init__(self, net: PillarFeatureNet, marks: bool) -> None:
        """``marks``: mark pillars whose features are all 0, to distinguish them from empty cells."""
        super().__init__()
        layers: Any = net.hidden
        self.hidden = nn.ModuleList(folded_linear(layer.linear, layer.norm) for layer in layers)
        self.linear = folded_linear(net.linear, net.norm)
        self.empty_slots, self.marks = net.empty_slots, marks
        self.features: int = (layers[0] if layers else net).linear.in_features

    def forward(self, features: Tensor) -> Tensor:
        taken = (features.abs().amax(dim=2, keepdim=True) > 0).to(features.dtype)  # (M, N, 1)
        x = features
        for layer in self.hidden:
            own = self._taking_part(torch.relu(layer(x)), taken)  # (M, N, C / 2)
            x = torch.cat([own, own.amax(dim=1, keepdim=True).expand_as(own)], dim=2)
        largest = self._taking_part(torch.relu(self.linear(x)), taken).amax(dim=1)  # (M, C)
        if not self.marks:
            return largest
        unseen = (largest.amax(dim=1, keepdim=True) <= 0).to(features.dtype) * taken.amax(dim=1)  # (M, 1)
        return torch.cat([largest[:, :1] + MARK * unseen, largest[:, 1:]], dim=1)

    def _taking_part(self, x: Tensor, taken: Tensor) -> Tensor:
        return x if self.empty_slots else x * taken  # values are >= 0 after ReLU, so a 0 does not change the maximum


class Backbone(nn.Module):
    """Stages and neck on the whole grid: canvas (1, C, y, x) -> maps of the stages and of the neck's levels."""

    def __init__(self, bev: BevNetwork) -> None:
        super().__init__()
        self.masked, self.fpn, self.neck_stages = isinstance(bev, SparseBev), bev.fpn, bev.neck_stages
        self.strides, self.factors = bev.strides, bev.factors
        if self.masked and any(stride > 1 and stride % 2 for stride in bev.strides[1:]):
            # MinkowskiEngine centres odd kernels, so the sites of the neck would be shifted by one cell.
            raise ConfigError(
                f"model.strides {bev.strides}: an odd stride after the first cannot be exported; use 1, 2"
            )
        network: Any = bev
        self.stages = nn.ModuleList(nn.Sequential(*(folded(block) for block in stage)) for stage in network.backbone)
        neck: Any = network.neck
        if isinstance(neck, SparseFpn | DenseFpn):
            self.laterals = nn.ModuleList(folded(block) for block in neck.laterals)
            self.outputs = nn.ModuleList(folded(block) for block in neck.outputs)
        else:
            self.ups = nn.ModuleList(folded(block) for block in neck)

    def forward(self, canvas: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor | None]]:
        """Stages (1, C_i, y_i, x_i), levels (1, C, y, x), and the mask (1, 1, y, x) of each level, None if every cell
        is a site."""
        x, stages, masks = canvas, [], []
        mask = occupied(canvas) if self.masked else None
        for stage, stride in zip(self.stages, self.strides, strict=True):
            if mask is not None and stride > 1:
                mask = functional.max_pool2d(mask, stride, stride)
            for block in stage:  # type: ignore[attr-defined]
                x = _masked(block(x), mask)
            stages.append(x)
            masks.append(mask)
        factors = [self.factors[number] for number in self.neck_stages]
        grown = [None if mask is None else _repeated(mask, self.factors[-1] // factor) for factor in factors]
        if self.fpn:
            return stages, self._pyramid(stages, masks, grown), grown
        parts = [_masked(up(stage), grown[0]) for up, stage in zip(self.ups, stages, strict=True)]
        return stages, [torch.cat(parts, dim=1)], grown

    def _pyramid(self, stages: list[Tensor], masks: list[Tensor | None], grown: list[Tensor | None]) -> list[Tensor]:
        levels: list[Tensor] = []
        above: Tensor | None = None
        for number in reversed(range(len(stages))):
            own = _masked(self.laterals[number](stages[number]), masks[number])
            if above is not None:
                own = own + _repeated(above, self.factors[number + 1] // self.factors[number])
            above = own
            levels.insert(0, _masked(self.outputs[number](own), grown[number]))
        return levels


class DenseNetwork(nn.Module):
    """Canvas (1, C, y, x) -> the head's maps, followed by those of the stages and of the neck's levels.

    output_names: of the head's maps; stage_names: of the other maps, which are those of the detector's taps.
    """

    def __init__(self, bev: BevNetwork, head: HeadMaps) -> None:
        super().__init__()
        self.backbone, self.head = Backbone(bev), head
        levels = range(1, len(bev.neck_stages) + 1)
        self.output_names = [level_name(name, level) for level in levels for name in head.names]
        stages = [f"bev{number}" for number in range(1, len(bev.strides) + 1)]
        self.stage_names = stages + [level_name("neck", level) for level in levels]

    def forward(self, canvas: Tensor) -> tuple[Tensor, ...]:
        stages, levels, masks = self.backbone(canvas)
        maps = [part for level, mask in zip(levels, masks, strict=True) for part in self.head(level, mask)]
        return (*maps, *stages, *levels)


class WholeNetwork(nn.Module):
    """Points' features in slots and the cells of the pillars -> the head's maps, including the scatter."""

    def __init__(self, encoder: PillarEncoder, network: DenseNetwork, grid: tuple[int, int]) -> None:
        """``grid``: cells along x and y."""
        super().__init__()
        self.encoder, self.network, self.grid = encoder, network, grid

    def forward(self, features: Tensor, coordinates: Tensor) -> tuple[Tensor, ...]:
        """features (M, N, F); coordinates int32 (M, 2): row y and column x. Padding pillars have row ``grid_y``."""
        columns, rows = self.grid
        pillars = self.encoder(features)  # (M, C)
        index = coordinates[:, 0].long() * columns + coordinates[:, 1].long()  # (M,)
        cells = torch.zeros(rows * columns + 1, pillars.shape[1]).index_put((index,), pillars)
        canvas = cells[: rows * columns].t().reshape(1, pillars.shape[1], rows, columns)
        return self.network(canvas)[: len(self.network.output_names)]


def level_name(name: str, level: int) -> str:
    """The name of a map at a level of the neck, counted from 1: scores, scores2, scores3."""
    return name if level == 1 else f"{name}{level}"


def occupied(canvas: Tensor) -> Tensor:
    """The mask (1, 1, y, x) of the cells of a canvas (1, C, y, x) that have a site."""
    return (canvas.abs().amax(dim=1, keepdim=True) > 0).to(canvas.dtype)


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


def _repeated(x: Tensor, factor: int) -> Tensor:
    return x if factor == 1 else functional.interpolate(x, scale_factor=float(factor), mode="nearest")
