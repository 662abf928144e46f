"""The base class of detectors: modules from a batch to a prediction, with taps for distillation."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from mink_pd.config import Config
from mink_pd.config.models import DetectorConfig
from mink_pd.data.loading.batch import Batch
from mink_pd.models.heads.box_layout import BoxLayout
from mink_pd.models.taps import Tap


@dataclass
class Detections:
    """The detections in one frame, best first."""

    boxes: Tensor  # (B, 7) in the LiDAR frame
    labels: Tensor  # (B,) int64
    scores: Tensor  # (B,)
    velocities: Tensor | None = None  # (B, 2), x and y [m/s] over ground; None if the detector does not predict them

    @classmethod
    def none(cls, device: torch.device) -> "Detections":
        """No detection."""
        labels = torch.zeros(0, dtype=torch.int64, device=device)
        return cls(torch.zeros(0, 7, device=device), labels, torch.zeros(0, device=device))


@dataclass(kw_only=True)
class Prediction:
    """A detector's prediction. Only the detector itself turns it into a loss or into boxes."""

    frames: int  # of the batch
    taps: dict[str, Tap] = field(default_factory=dict)  # features for distillation, by name


@dataclass
class AnchorOutputs:
    """What an anchor head says of N anchors besides their scores."""

    boxes: Tensor  # (N, 7) residuals
    directions: Tensor  # (N, 2) logits
    velocities: Tensor | None = None  # (N, 2) [m/s]; None if the head does not predict them


@dataclass(kw_only=True)
class AnchorPrediction(Prediction):
    """Outputs of an anchor head at S sites with A anchors each, before decoding."""

    scores: Tensor  # (S, A, classes) logits
    boxes: Tensor  # (S, A, 7) residuals
    directions: Tensor  # (S, A, 2) logits
    anchors: Tensor  # (S, A, 7)
    frame: Tensor  # (S,) int64
    velocities: Tensor | None = None  # (S, A, 2) [m/s]; None if the head does not predict them

    def at(self, site: Tensor, anchor: Tensor) -> AnchorOutputs:
        """Of N anchors, given by sites (N,) and their numbers there (N,)."""
        velocities = None if self.velocities is None else self.velocities[site, anchor]
        return AnchorOutputs(self.boxes[site, anchor], self.directions[site, anchor], velocities)


class Shared(Protocol):
    """The input that teacher and student share: voxels on a coordinate map, or sampled points."""

    def __len__(self) -> int: ...


S = TypeVar("S", bound=Shared)
P = TypeVar("P", bound=Prediction)


class Detector(nn.Module, ABC, Generic[S, P]):
    """A LiDAR 3D detector. All it does for distillation is to name its taps.

    geometry: the settings that must be equal for two networks to see the same voxels or points.
    ignores: whether the loss excludes predictions at a batch's ignored boxes.
    rows_are_sites: whether the taps' rows are cells of a grid, so that a part of the points gives a part of the rows.
    """

    Settings: ClassVar[type[DetectorConfig]]
    geometry: ClassVar[tuple[str, ...]] = ("model.voxel_size",)
    ignores: ClassVar[bool] = False
    rows_are_sites: ClassVar[bool] = True

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.classes = list(config.data.classes)

    @abstractmethod
    def shared_input(self, batch: Batch) -> S:
        """The batch's points on a coordinate map, or a sample of them; detectors of equal geometry share it."""

    def sees(self, batch: Batch) -> bool:
        """Whether any point of the batch reaches the network. Otherwise there is nothing to learn."""
        return len(batch.points) > 0

    @abstractmethod
    def tap_channels(self) -> dict[str, int]:
        """Names of the taps and their numbers of channels."""

    def input_groups(self) -> dict[str, Tensor]:
        """Group numbers int64 (C_in,) of the input channels of weights that stack several kinds of inputs, by the name
        of the weight. They are along dimension 1. A narrower network has the same groups with fewer members each."""
        return {}

    def box_layout(self) -> BoxLayout | None:
        """The layout of the taps ``scores`` and ``boxes``; None if ``boxes`` are not plain codes of boxes."""
        return None

    def box_coding(self) -> dict[str, object]:
        """What the numbers in ``scores`` and ``boxes`` count from, by setting: where two detectors differ in it, equal
        numbers mean other boxes."""
        return {}

    @abstractmethod
    def forward(self, batch: Batch, shared: S | None = None) -> P:
        """The prediction for a batch.

        shared: the ``shared_input`` of another detector of equal geometry; None: it is computed.
        """

    @abstractmethod
    def loss(self, prediction: P, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms; their sum is the detection loss.

        With several processes, the mean of a term over the processes must equal the term of all their frames together.
        So means over frames use ``batch.weight``, and means over rows :func:`mink_pd.processes.shared_count`.
        """

    @abstractmethod
    def detect(self, prediction: P) -> list[Detections]:
        """Decoded boxes after non-maximum suppression, one entry per frame."""
