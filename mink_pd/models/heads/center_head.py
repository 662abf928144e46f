"""The centre head (CenterPoint, Yin et al., CVPR 2021, section 4.1): per site a score per class and a box per task."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from mink_pd.models.detector import Prediction
from mink_pd.models.layers.bev import Level
from mink_pd.models.layers.maps import DenseBlock
from mink_pd.models.taps import SiteTap
from mink_pd.sparse import ConvBlock, SparseConv, Voxels, with_features

HEATMAP_BIAS = -2.19  # of the heatmaps' last layer: a score of 0.1 before training
EPSILON, MOMENTUM = 1e-5, 0.1  # of the head's batch norm; published heads have torch's defaults
BOX = {"offset": 2, "height": 1, "size": 3, "yaw": 2}  # branches of a box, in this order, and their channels
CODE = sum(BOX.values())  # offset x, y [cells], z [m], log of l, w, h, sine and cosine of yaw


@dataclass(kw_only=True)
class CenterPrediction(Prediction):
    """Outputs of a centre head with T tasks at S sites, before decoding."""

    scores: Tensor  # (S, classes) logits of the heatmaps, in the order of the configured classes
    boxes: Tensor  # (S, T, CODE)
    velocities: Tensor | None  # (S, T, 2) [m/s]; None if the head does not predict them
    ious: Tensor | None  # (S, T), 2 IoU - 1, likewise
    coordinates: Tensor  # (S, 3) int32
    stride: int  # tensor stride of the coordinates
    corners: Tensor  # (S, 2) lower corners of the sites' cells [m]
    cell: Tensor  # (2,) edges of the cells [m]
    frame: Tensor  # (S,) int64


class SparseOutput(nn.Module):
    """Sparse convolution with bias, kernel 3, on the sites of its input; never in half precision."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.convolution: Any = SparseConv(channels_in, channels_out, 3, 1, bias=True, dimension=2)

    def forward(self, x: Any) -> Any:
        with torch.autocast(x.F.device.type, enabled=False):
            return self.convolution(x)


class DenseOutput(nn.Module):
    """:class:`SparseOutput` for dense maps."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.convolution(x.to(self.convolution.weight.dtype))

    def multiply_adds(self, x: Tensor) -> int:
        """Of ``forward``."""
        return len(x) * x.shape[2:].numel() * self.convolution.weight.numel()


class CenterHead(nn.Module):
    """A shared convolution, then for each task branches of two convolutions each: heatmap, offset, height, size, yaw
    and, if configured, velocity and iou."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        tasks: list[list[int]],
        dense: bool,
        velocity: bool = False,
        iou: bool = False,
    ) -> None:
        """Build the layers.

        tasks: the class numbers of each task.
        dense: for dense maps, else for sites.
        """
        super().__init__()
        self.tasks, self.dense, self.velocity, self.iou = tasks, dense, velocity, iou
        block: Any = DenseBlock if dense else ConvBlock
        output: Any = DenseOutput if dense else SparseOutput
        branches = BOX | ({"velocity": 2} if velocity else {}) | ({"iou": 1} if iou else {})
        self.branch_names = ["heatmap", *branches]
        self.shared: Any = block(channels_in, channels)
        self.branches = nn.ModuleList(
            nn.ModuleDict({
                name: nn.Sequential(block(channels, channels), output(channels, out))
                for name, out in ({"heatmap": len(classes)} | branches).items()
            })
            for classes in tasks
        )  # fmt: skip
        order = [label for classes in tasks for label in classes]
        self.channel: Tensor  # (classes,) of each class among the heatmaps of all tasks
        self.register_buffer("channel", torch.tensor(order).argsort(), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, DenseBlock | ConvBlock):
                module.norm.eps, module.norm.momentum = EPSILON, MOMENTUM
            if isinstance(module, DenseOutput | SparseOutput):
                for name, parameter in module.named_parameters():
                    nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=0.01)
        for branches in self._branches():
            nn.init.constant_(branches["heatmap"][1].convolution.bias, HEATMAP_BIAS)

    def _branches(self) -> list[dict[str, Any]]:
        """The branches of each task by name."""
        return [dict(task.items()) for task in cast(list[nn.ModuleDict], self.branches)]

    @property
    def classes(self) -> int:
        return len(self.channel)

    def tap_channels(self) -> dict[str, int]:
        """Channels of the outputs that are taps."""
        taps = {"scores": self.classes, "boxes": CODE * len(self.tasks)}
        return taps | ({"velocities": 2 * len(self.tasks)} if self.velocity else {})

    def forward(self, level: Level, voxels: Voxels) -> CenterPrediction:
        """The prediction at each cell of the neck's level, with the taps at the neck's sites."""
        x = self.shared(level.image if self.dense else level.neck)
        parts = [{name: _rows(branch(x)) for name, branch in branches.items()} for branches in self._branches()]
        edges = voxels.size[:2] * level.stride
        corners = voxels.centres(level.coordinates, level.stride) - edges / 2  # (S, 2)
        frame = level.coordinates[:, 0].long()
        prediction = self.assemble(parts, voxels.frames, level.coordinates, level.stride, corners, edges, frame)
        for name in self.tap_channels():
            values = getattr(prediction, name).flatten(1)[level.rows]
            prediction.taps[name] = SiteTap(with_features(level.neck, values), voxels)
        return prediction

    def nothing(self, frames: int, device: torch.device) -> CenterPrediction:
        """The prediction for a batch without a point in range."""
        empty = next(self.parameters()).flatten()[:0]  # a slice of a weight, so that a loss can be differentiated
        parts = [
            {name: empty.view(0, branch[1].convolution.bias.numel()) for name, branch in branches.items()}
            for branches in self._branches()
        ]
        coordinates = torch.zeros(0, 3, dtype=torch.int32, device=device)
        flat, frame = torch.zeros(0, 2, device=device), torch.zeros(0, dtype=torch.int64, device=device)
        return self.assemble(parts, frames, coordinates, 1, flat, torch.ones(2, device=device), frame)

    def assemble(
        self,
        parts: list[dict[str, Tensor]],
        frames: int,
        coordinates: Tensor,
        stride: int,
        corners: Tensor,
        cell: Tensor,
        frame: Tensor,
    ) -> CenterPrediction:
        """The branches' outputs (S, C) of each task as one prediction."""
        scores = torch.cat([part["heatmap"] for part in parts], dim=1)[:, self.channel]  # (S, classes)
        return CenterPrediction(
            frames=frames,
            scores=scores,
            boxes=torch.stack([torch.cat([part[name] for name in BOX], dim=1) for part in parts], dim=1),
            velocities=torch.stack([part["velocity"] for part in parts], dim=1) if self.velocity else None,
            ious=torch.cat([part["iou"] for part in parts], dim=1) if self.iou else None,
            coordinates=coordinates,
            stride=stride,
            corners=corners,
            cell=cell,
            frame=frame,
        )


def _rows(x: Any) -> Tensor:
    """Values (S, C) of a sparse tensor, or of a map (B, C, y, x)."""
    return x.permute(0, 2, 3, 1).flatten(0, 2) if isinstance(x, Tensor) else x.F
