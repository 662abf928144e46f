"""What every detector is: a module from a batch to a prediction, with taps for distillation."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from mink_pd.config import Config
from mink_pd.config.models import DetectorConfig
from mink_pd.data.batch import Batch
from mink_pd.models.box_layout import BoxLayout
from mink_pd.models.taps import Tap


@dataclass
class Detections:
    """Of one frame, best first: boxes (B, 7) in the LiDAR frame, labels (B,) int64, scores (B,); velocities (B, 2),
    x and y [m/s] over the ground, of detectors that predict them."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    velocities: Tensor | None = None

    @classmethod
    def none(cls, device: torch.device) -> "Detections":
        """No detection."""
        labels = torch.zeros(0, dtype=torch.int64, device=device)
        return cls(torch.zeros(0, 7, device=device), labels, torch.zeros(0, device=device))


@dataclass(kw_only=True)
class Prediction:
    """What any detector predicts: frames, how many the batch has, and taps, what can be distilled.

    The rest is the detector's own affair: it alone turns a prediction into a loss or into boxes.
    """

    frames: int
    taps: dict[str, Tap] = field(default_factory=dict)


@dataclass(kw_only=True)
class AnchorPrediction(Prediction):
    """Outputs of an anchor head at S sites with A anchors each, before decoding.

    scores: (S, A, classes) logits; boxes: (S, A, 7) residuals; directions: (S, A, 2) logits; velocities: (S, A, 2)
    [m/s], of heads that predict them; anchors: (S, A, 7); frame: int64 (S,), the frame of each site.
    """

    scores: Tensor
    boxes: Tensor
    directions: Tensor
    anchors: Tensor
    frame: Tensor
    velocities: Tensor | None = None


class Shared(Protocol):
    """What teacher and student share of a batch: voxels on a coordinate map, or sampled points."""

    def __len__(self) -> int: ...


S = TypeVar("S", bound=Shared)
P = TypeVar("P", bound=Prediction)


class Detector(nn.Module, ABC, Generic[S, P]):
    """A LiDAR 3D detector. It knows nothing of distillation beyond naming its taps.

    geometry: the settings that two networks must agree in to see the same voxels or points. ignores: whether the loss
    leaves out what lies at a batch's ignored boxes. rows_are_sites: whether the taps' rows are
    places in a grid, so that a part of the points gives a part of the rows.
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
        """The batch's points on a coordinate map, or a sample of them: what several detectors of one geometry share."""

    def sees(self, batch: Batch) -> bool:
        """Whether any point of the batch reaches the network; without one there is nothing to learn."""
        return len(batch.points) > 0

    @abstractmethod
    def tap_channels(self) -> dict[str, int]:
        """Names of the taps and how many channels each has."""

    def input_groups(self) -> dict[str, Tensor]:
        """Of weights whose inputs are not channels of one layer alone: which of them belong together, by numbers int64
        (C_in,) along dimension 1. A network with fewer channels has the same groups, each with fewer members."""
        return {}

    def box_layout(self) -> BoxLayout | None:
        """How to read the taps ``scores`` and ``boxes``; None where ``boxes`` are no plain codes of boxes."""
        return None

    @abstractmethod
    def forward(self, batch: Batch, shared: S | None = None) -> P:
        """Predict; ``shared``, where given, is the ``shared_input`` of another detector of the same geometry."""

    @abstractmethod
    def loss(self, prediction: P, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms; their sum is the detection loss.

        With several processes, the mean of a term over them is the term of all their frames: means over frames take
        ``batch.weight``, means over rows :func:`mink_pd.processes.shared_count`.
        """

    @abstractmethod
    def detect(self, prediction: P) -> list[Detections]:
        """Decoded boxes after non-maximum suppression, one entry a frame."""
