"""Necks, which join the stages of a backbone: SECOND's and the feature pyramid, each sparse and dense."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mink_pd.models.layers.maps import DenseBlock
from mink_pd.sparse import ME, ConvBlock, Voxels, holding, on_sites
from mink_pd.sparse.norm import norm_relu

Keys = list["ME.CoordinateMapKey"]


def _steps(factors: list[int], stage: int) -> list[tuple[int, bool]]:
    """For each stage the factor by which it is resampled to the stride of ``stage``, and whether it becomes finer.

    factors: strides of the stages divided by that of the first.
    stage: counted from 1.
    """
    goal = factors[stage - 1]
    return [(max(factor // goal, goal // factor), factor > goal) for factor in factors]


class SparseSecondNeck(nn.ModuleList):
    """Resamples all stages to the resolution of one and concatenates them (SECOND, Yan et al. 2018, section 3.1.3)."""

    def __init__(self, channels: list[int], out: int, factors: list[int], stage: int = 1) -> None:
        """Build the layers.

        channels: of the stages.
        out: channels that each stage contributes.
        factors: strides of the stages divided by that of the first.
        stage: the stage whose resolution the neck has, counted from 1.
        """
        super().__init__(
            ConvBlock(c, out, kernel=step, stride=step, transposed=finer) if step > 1 else ConvBlock(c, out)
            for c, (step, finer) in zip(channels, _steps(factors, stage), strict=True)
        )

    def forward(self, stages: list["ME.SparseTensor"], sites: Keys, voxels: Voxels) -> list["ME.SparseTensor"]:
        """One level (N, stages * out) on ``sites[0]``."""
        pairs: list[tuple[Any, ME.SparseTensor]] = list(zip(self, stages, strict=True))
        return [on_sites(self._features(pairs, sites[0], voxels), sites[0], voxels)]

    def _features(
        self, pairs: list[tuple[Any, "ME.SparseTensor"]], sites: "ME.CoordinateMapKey", voxels: Voxels
    ) -> Tensor:
        """(N, stages * out)"""
        if not all(isinstance(block, ConvBlock) for block in self):  # another library's, such as MinkowskiEngine's
            return torch.cat([block(stage, sites).F for block, stage in pairs], dim=1)
        if torch.is_grad_enabled() or any(block.training for block, _ in pairs):
            parts = [block.convolution(stage, sites).F for block, stage in pairs]  # (N, out) each
            return norm_relu(parts, [block.norm for block, _ in pairs])
        widths = [block.norm.num_features for block, _ in pairs]
        features = pairs[0][0].norm.weight.new_empty(voxels.manager.size(sites), sum(widths))
        for (block, stage), part in zip(pairs, features.split(widths, dim=1), strict=True):
            block(stage, sites, part)
        return features


class DenseSecondNeck(nn.ModuleList):
    """:class:`SparseSecondNeck` on dense maps, as published."""

    def __init__(self, channels: list[int], out: int, factors: list[int], stage: int = 1) -> None:
        super().__init__(
            DenseBlock(c, out, step, kernel=step, transposed=finer or step == 1)
            for c, (step, finer) in zip(channels, _steps(factors, stage), strict=True)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """One level (B, stages * out, y, x)."""
        return [torch.cat([up(stage) for up, stage in zip(self, maps, strict=True)], dim=1)]


class SparseFpn(nn.Module):
    """Feature pyramid (Lin et al., CVPR 2017, section 3): a lateral map of each stage to a common width, addition of
    the next coarser level, and a convolution of the sum.

    A level has more sites than its stage. At the additional sites it only has the features of the coarser level.
    """

    def __init__(self, channels: list[int], out: int) -> None:
        """channels: of the stages; out: of all levels."""
        super().__init__()
        self.laterals = nn.ModuleList(ConvBlock(c, out, kernel=1) for c in channels)
        self.outputs = nn.ModuleList(ConvBlock(out, out) for _ in channels)

    def forward(self, stages: list["ME.SparseTensor"], sites: Keys, voxels: Voxels) -> list["ME.SparseTensor"]:
        """One level (N_i, out) per stage."""
        levels: list[ME.SparseTensor] = []
        above: ME.SparseTensor | None = None
        for stage, key, lateral, output in reversed(list(zip(stages, sites, self.laterals, self.outputs, strict=True))):
            own = lateral(stage)  # (M_i, out)
            if above is None:
                features = own.F.new_zeros(voxels.manager.size(key), own.F.shape[1])
            else:  # nearest neighbour: each site takes the coarse cell that contains it
                features = above.F.index_select(0, holding(voxels, above.coordinate_map_key, key))
            features = features.index_add(0, holding(voxels, key, own.coordinate_map_key), own.F)  # (N_i, out)
            above = on_sites(features, key, voxels)
            levels.insert(0, output(above))
        return levels


class DenseFpn(nn.Module):
    """:class:`SparseFpn` on dense maps, as published."""

    def __init__(self, channels: list[int], out: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(DenseBlock(c, out, kernel=1) for c in channels)
        self.outputs = nn.ModuleList(DenseBlock(out, out) for _ in channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """One level (B, out, y_i, x_i) per stage."""
        levels: list[Tensor] = []
        above: Tensor | None = None
        for stage, lateral, output in reversed(list(zip(maps, self.laterals, self.outputs, strict=True))):
            own = lateral(stage)
            if above is not None:
                own = own + functional.interpolate(above, size=own.shape[2:], mode="nearest")
            above = own
            levels.insert(0, output(own))
        return levels
