"""Box coders: the codes that the two heads regress, their boxes, and their losses.

The first stage codes a box relative to a point and the mean size of its class. The second stage codes it relative to a
region, in whose frame the region is at the origin with heading 0; it treats headings that differ by half a turn as
equal.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mink_pd.config.pointrcnn import BinConfig
from mink_pd.models.heads.anchors import LARGEST

QUARTER = math.pi / 4  # largest difference of heading to the region in the second stage
_SMALLEST = -0.9  # smallest size residual, so that an untrained network gives no negative sizes


class BoxCoder(ABC):
    """Codes (n, channels) of boxes (n, 7) relative to centres (n, 3) and sizes (n, 3).

    channels: numbers per code.
    mean_sizes: whether the second stage uses the mean sizes of the classes instead of the regions' sizes.
    """

    channels: int
    mean_sizes: bool

    @abstractmethod
    def decode(self, code: Tensor, centres: Tensor, sizes: Tensor) -> Tensor:
        """Boxes (n, 7)."""

    @abstractmethod
    def loss(self, code: Tensor, boxes: Tensor, centres: Tensor, sizes: Tensor) -> Tensor:
        """Loss (n,) of codes whose boxes should be ``boxes``."""


def half_turn(yaw: Tensor) -> Tensor:
    """The angle in [-pi / 2, pi / 2) that differs from ``yaw`` by a multiple of half a turn."""
    return torch.remainder(yaw + math.pi / 2, math.pi) - math.pi / 2


@dataclass
class BinTargets:
    """The target codes of n boxes."""

    bins: Tensor  # (n, 3) int64, of x, y, heading
    residuals: Tensor  # (n, 7): x, y, heading within the bin, z, l, w, h


class BinCoder(BoxCoder):
    """Bins and residuals (PointRCNN, section 3.2, equations 1 to 3).

    x and y each have 2 S / delta bins of width delta. The heading has n bins, over the full turn or over 90 degrees
    around the region's heading. A residual is measured from the middle of its bin in units of a bin (heading: half a
    bin). z is the plain offset; l, w, h are relative to ``sizes``.
    """

    mean_sizes = True

    def __init__(self, bins: BinConfig, full_turn: bool) -> None:
        self.search, self.size, self.full_turn = bins.search, bins.size, full_turn
        self.beta = bins.beta
        self.steps = round(2 * bins.search / bins.size)
        self.headings = bins.headings
        self.heading = (2 * math.pi if full_turn else 2 * QUARTER) / bins.headings  # width of a bin [rad]
        self.channels = 4 * self.steps + 2 * self.headings + 4

    def split(self, code: Tensor) -> list[Tensor]:
        """Logits of the bins of x, y (n, steps) and heading (n, headings), their residuals, z (n, 1), size (n, 3)."""
        widths = [self.steps, self.steps, self.headings] * 2 + [1, 3]
        return list(code.split(widths, dim=1))

    def encode(self, boxes: Tensor, centres: Tensor, sizes: Tensor) -> BinTargets:
        """The target code of boxes (n, 7)."""
        offset = boxes[:, :3] - centres
        flat = (offset[:, :2] + self.search) / self.size  # (n, 2), in bins
        if self.full_turn:  # the first bin is centred on heading 0
            turn = torch.remainder(boxes[:, 6] + self.heading / 2, 2 * math.pi) / self.heading
        else:
            turn = (half_turn(boxes[:, 6]) + QUARTER) / self.heading
        position = torch.cat([flat, turn[:, None]], dim=1)  # (n, 3), in bins
        last = position.new_tensor([self.steps, self.steps, self.headings]) - 1
        bins = torch.minimum(position.floor().clamp(min=0), last)
        within = (position - bins - 0.5).clamp(-0.5, 0.5) * position.new_tensor([1, 1, 2])
        size = (boxes[:, 3:6] - sizes) / sizes
        return BinTargets(bins.long(), torch.cat([within, offset[:, 2:], size], dim=1))

    def decode(self, code: Tensor, centres: Tensor, sizes: Tensor) -> Tensor:
        *logits, x, y, heading, z, size = self.split(code)
        bins = [one.argmax(dim=1, keepdim=True) for one in logits]  # (n, 1) each
        x, y, heading = (within.gather(1, b) for within, b in zip((x, y, heading), bins, strict=True))
        flat = (torch.cat([bins[0] + x, bins[1] + y], dim=1) + 0.5) * self.size - self.search
        turn = (bins[2] + 0.5 + heading / 2) * self.heading
        yaw = turn - (self.heading / 2 if self.full_turn else QUARTER)
        return torch.cat([centres + torch.cat([flat, z], dim=1), sizes * (1 + size.clamp(min=_SMALLEST)), yaw], dim=1)

    def loss(self, code: Tensor, boxes: Tensor, centres: Tensor, sizes: Tensor) -> Tensor:
        targets = self.encode(boxes, centres, sizes)
        *logits, x, y, heading, z, size = self.split(code)
        bins = targets.bins.unbind(dim=1)
        right = [within.gather(1, b[:, None]) for within, b in zip((x, y, heading), bins, strict=True)]
        predicted = torch.cat([*right, z, size], dim=1)  # (n, 7)
        residual = F.smooth_l1_loss(predicted, targets.residuals, beta=self.beta, reduction="none")
        choice = [F.cross_entropy(one, b, reduction="none") for one, b in zip(logits, bins, strict=True)]
        return torch.stack(choice).sum(dim=0) + residual.sum(dim=1)


class ResidualCoder(BoxCoder):
    """Residuals of OpenPCDet and MMDetection3D: offsets divided by the diagonal and height of ``sizes``, log sizes, and
    the heading's cosine and sine (first stage) or its difference to the region's heading (second stage)."""

    mean_sizes = False

    def __init__(self, full_turn: bool) -> None:
        self.full_turn = full_turn
        self.channels = 8 if full_turn else 7

    def encode(self, boxes: Tensor, centres: Tensor, sizes: Tensor) -> Tensor:
        """The code (n, channels) of boxes."""
        offset = (boxes[:, :3] - centres) / _scale(sizes)
        yaw = boxes[:, 6:]
        heading = torch.cat([yaw.cos(), yaw.sin()], dim=1) if self.full_turn else half_turn(yaw)
        return torch.cat([offset, torch.log(boxes[:, 3:6] / sizes), heading], dim=1)

    def decode(self, code: Tensor, centres: Tensor, sizes: Tensor) -> Tensor:
        size = sizes * code[:, 3:6].clamp(-LARGEST, LARGEST).exp()
        yaw = torch.atan2(code[:, 7:8], code[:, 6:7]) if self.full_turn else code[:, 6:7]
        return torch.cat([centres + code[:, :3] * _scale(sizes), size, yaw], dim=1)

    def loss(self, code: Tensor, boxes: Tensor, centres: Tensor, sizes: Tensor) -> Tensor:
        targets = self.encode(boxes, centres, sizes)
        return F.smooth_l1_loss(code, targets, beta=1 / 9, reduction="none").sum(dim=1)


def _scale(sizes: Tensor) -> Tensor:
    """Diagonal, diagonal, height (n, 3) of sizes (n, 3)."""
    diagonal = sizes[:, :2].norm(dim=1, keepdim=True)
    return torch.cat([diagonal, diagonal, sizes[:, 2:]], dim=1)
