"""The base class of detectors with a backbone in bird's-eye view."""

from abc import abstractmethod
from typing import TypeVar

import torch
from torch import Tensor

from mink_pd.config import Config
from mink_pd.config.models import BevDetectorConfig
from mink_pd.data.loading.batch import Batch
from mink_pd.models.compress import width
from mink_pd.models.detector import Detector, Prediction
from mink_pd.models.layers.bev import BevFeatures, BevNetwork, DenseBev, SparseBev
from mink_pd.models.layers.encoder import BevEncoder
from mink_pd.models.taps import SiteTap
from mink_pd.sparse import ME, Voxels, voxelise
from mink_pd.sparse.voxels import grid_shape, in_grid

P = TypeVar("P", bound=Prediction)

_FIRST_POINTS = 1024  # size of the block tested first; it nearly always has a point in range


class BevDetector(Detector[Voxels, P]):
    """Points -> voxels -> encoder -> backbone and neck in bird's-eye view -> head.

    A subclass adds the head: its prediction from the neck's features, the loss and the boxes.
    """

    settings: BevDetectorConfig

    def __init__(self, config: Config, encoder: BevEncoder) -> None:
        super().__init__(config)
        assert isinstance(config.model, BevDetectorConfig)
        self.settings = model = config.model
        self.encoder = encoder
        fpn = model.neck == "fpn"
        stages = [width(c, model.compression) for c in model.channels]
        neck = width(model.neck_channels, model.compression)
        shape = [encoder.channels_out, *stages], model.strides, model.layers, neck
        join = fpn, model.neck_stage
        cells_x, cells_y, _ = grid_shape(config.data.range, model.voxel_size)
        grid = (-(-cells_x // encoder.stride), -(-cells_y // encoder.stride))
        self.bev: BevNetwork = SparseBev(*shape, *join) if model.bev == "sparse" else DenseBev(*shape, grid, *join)
        self.neck_channels = neck if fpn else len(stages) * neck  # input of the head
        self._levels = len(stages) if fpn else 1
        self._stage_channels = {f"bev{i + 1}": channels for i, channels in enumerate(stages)}

    def shared_input(self, batch: Batch) -> Voxels:
        bounds, size = self.config.data.range, self.settings.voxel_size
        dimensions, first = self.encoder.dimensions, self.encoder.first_cell
        voxels = voxelise(batch.points, batch.frame, len(batch), size, bounds, dimensions, first)
        voxels.points = voxels.points.to(next(self.parameters()).dtype)  # float64 under train.precision=64-true
        return voxels

    def sees(self, batch: Batch) -> bool:
        bounds, size = self.config.data.range, self.settings.voxel_size
        blocks = batch.points.split(_FIRST_POINTS)
        return any(bool(in_grid(block, size, bounds).any()) for block in blocks if len(block))

    def tap_channels(self) -> dict[str, int]:
        """The taps of encoder, stages and neck; a subclass adds those of its head."""
        first = {} if self.encoder.tap is None else {self.encoder.tap: self.encoder.channels_out}
        return first | self._stage_channels | dict.fromkeys(neck_names(self._levels), self.neck_channels)

    def input_groups(self) -> dict[str, Tensor]:
        """Groups of the first convolution of the backbone, if the encoder stacks several height levels."""
        groups = self.encoder.groups()
        kind = "weight" if self.settings.bev == "dense" else "kernel"
        return {} if groups is None else {f"bev.backbone.0.0.convolution.{kind}": groups}

    def forward(self, batch: Batch, shared: Voxels | None = None) -> P:
        voxels = self.shared_input(batch) if shared is None else shared
        if len(voxels) == 0:
            return self.nothing(len(batch), batch.points.device)
        encoded, columns = self.encoder.encode(voxels)  # (S, C)
        prediction = self.predict(encoded, columns)
        if self.encoder.tap is not None:
            prediction.taps[self.encoder.tap] = SiteTap(encoded, columns)
        return prediction

    def predict(self, x: "ME.SparseTensor", voxels: Voxels) -> P:
        """The prediction from features (S, C) on two-dimensional sites, with the taps of stages, neck and head."""
        features = self.bev(x, voxels)
        prediction = self.read(features, voxels)
        prediction.taps |= {f"bev{i + 1}": SiteTap(stage, voxels) for i, stage in enumerate(features.stages)}
        for name, level in zip(neck_names(len(features.levels)), features.levels, strict=True):
            prediction.taps[name] = SiteTap(level.neck, voxels)
        return prediction

    @abstractmethod
    def read(self, features: BevFeatures, voxels: Voxels) -> P:
        """The head's prediction from the neck's features, with the head's taps."""

    @abstractmethod
    def nothing(self, frames: int, device: torch.device) -> P:
        """The prediction for a batch without a point in range. Its loss is 0 and can be differentiated."""


def neck_names(levels: int) -> list[str]:
    """Names of the taps of the neck's levels, finest first: neck, neck2, neck3."""
    return ["neck", *(f"neck{number}" for number in range(2, levels + 1))]
