"""PointPillars with a dense backbone in plain torch, at its best: what the sparse one is measured against."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mink_pd.data.batch import Batch
from mink_pd.models import AnchorPrediction, Detections
from mink_pd.models.anchors import place_anchors
from mink_pd.models.pointpillars import PointPillars
from mink_pd.sparse import Voxels
from mink_pd.sparse.layers import EPSILON, MOMENTUM
from mink_pd.sparse.voxels import grid_shape


class DensePillars(nn.Module):
    """Points to boxes with the pillar net, head weights and decoding of a sparse detector, and between them what Lang
    et al. (2019, sections 2.2 and 3) describe: a canvas of all cells, 3 x 3 convolutions, a neck of transposed ones,
    the head on every cell of stride 2. For one frame, at inference.
    """

    def __init__(self, sparse: PointPillars, channels: Sequence[int], neck: int) -> None:
        """``channels``: of the pillars and the three stages; ``neck``: of each of its branches."""
        super().__init__()
        self.sparse = sparse
        model, data = sparse.settings, sparse.config.data
        self.grid = grid_shape(data.range, model.voxel_size)[:2]  # x, y
        self.stages = nn.ModuleList(
            nn.Sequential(convolution(c_in, c_out, 2), *(convolution(c_out, c_out) for _ in range(more)))
            for (c_in, c_out), more in zip(pairwise(channels), model.layers, strict=True)
        )
        self.neck = nn.ModuleList(upsampling(c, neck, 2**level) for level, c in enumerate(channels[1:]))
        head = sparse.head
        self.head = nn.Conv2d(3 * neck, sum(x.out_features for x in (head.score, head.box, head.direction)), 1)
        self.anchors = self.all_anchors()
        self.layout = torch.contiguous_format

    def forward(self, batch: Batch) -> list[Detections]:
        voxels = self.sparse.voxelise(batch)
        x = self.canvas(self.sparse.pillars(voxels), voxels)  # (1, 64, X, Y)
        parts = []
        for stage, up in zip(self.stages, self.neck, strict=True):
            x = stage(x)  # (1, 64, X/2, Y/2), (1, 128, X/4, Y/4), (1, 256, X/8, Y/8)
            parts.append(up(x))  # (1, 128, X/2, Y/2)
        y = self.head(torch.cat(parts, dim=1))  # (1, A * (classes + 7 + 2), X/2, Y/2)
        return self.sparse.detect(self.prediction(y.permute(0, 2, 3, 1).flatten(0, 2)))

    def canvas(self, pillars: Tensor, voxels: Voxels) -> Tensor:
        cells = pillars.new_zeros(self.grid[0] * self.grid[1], pillars.shape[1])
        place = voxels.coordinates[:, 1].long() * self.grid[1] + voxels.coordinates[:, 2]
        cells[place] = pillars
        return cells.view(1, *self.grid, -1).permute(0, 3, 1, 2).contiguous(memory_format=self.layout)

    def prediction(self, rows: Tensor) -> AnchorPrediction:
        """rows: (S, A * (classes + 7 + 2))"""
        kinds, classes = self.sparse.head.anchors, self.sparse.head.classes
        scores, boxes, directions = rows.split([kinds * classes, kinds * 7, kinds * 2], dim=1)
        return AnchorPrediction(
            scores=scores.reshape(-1, kinds, classes),
            boxes=boxes.reshape(-1, kinds, 7),
            directions=directions.reshape(-1, kinds, 2),
            anchors=self.anchors,
            frame=torch.zeros(len(rows), dtype=torch.int64),
            frames=1,
        )

    def all_anchors(self) -> Tensor:
        """(S, A, 7), made once: the cells of a dense map are always the same."""
        model = self.sparse.settings
        lower, size = (torch.tensor(x[:2]) for x in (self.sparse.config.data.range, model.voxel_size))
        axes = [torch.arange(0, cells, 2) for cells in self.grid]
        centres = lower + (torch.cartesian_prod(*axes) + 1) * size  # (S, 2)
        return place_anchors(centres, [model.anchors[name] for name in self.sparse.classes], model.head.headings)

    def fused(self) -> "DensePillars":
        """For inference: batch norm folded into the convolutions. The network is not to be trained any more."""
        self.eval()
        blocks: list[Any] = [m for m in self.modules() if isinstance(m, nn.Sequential) and len(m) == 3]
        for block in blocks:
            if isinstance(block[1], nn.BatchNorm2d):
                transposed = isinstance(block[0], nn.ConvTranspose2d)
                block[0] = fuse_conv_bn_eval(block[0], block[1], transpose=transposed)
                block[1] = nn.Identity()
        return self

    def lay_out(self, layout: torch.memory_format) -> "DensePillars":
        """Channels first or last, in weights and activations."""
        self.layout = layout
        return self.to(memory_format=layout)  # type: ignore[call-overload]


def convolution(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return _block(nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False), channels_out)


def upsampling(channels_in: int, channels_out: int, factor: int) -> nn.Sequential:
    return _block(nn.ConvTranspose2d(channels_in, channels_out, factor, factor, bias=False), channels_out)


def _block(layer: nn.Conv2d | nn.ConvTranspose2d, channels: int) -> nn.Sequential:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    norm = nn.BatchNorm2d(channels, eps=EPSILON, momentum=MOMENTUM)
    return nn.Sequential(layer, norm, nn.ReLU(inplace=True))
