"""What every detector is: a module from a batch to a prediction, with taps for distillation."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from torch import Tensor, nn

from mink_pd.config import Config
from mink_pd.data.batch import Batch
from mink_pd.sparse import Tap, Voxels


@dataclass
class Detections:
    """Of one frame, best first: boxes (B, 7) in the LiDAR frame, labels (B,) int64, scores (B,)."""

    boxes: Tensor
    labels: Tensor
    scores: Tensor


@dataclass
class Prediction:
    """Outputs of an anchor head at S sites with A anchors each, before decoding.

    scores: (S, A, classes) logits; boxes: (S, A, 7) residuals; directions: (S, A, 2) logits; anchors: (S, A, 7);
    frame: int64 (S,), the frame of each site; frames: how many frames the batch has; taps: what can be distilled.
    """

    scores: Tensor
    boxes: Tensor
    directions: Tensor
    anchors: Tensor
    frame: Tensor
    frames: int
    taps: dict[str, Tap] = field(default_factory=dict)


class Detector(nn.Module, ABC):
    """A LiDAR 3D detector. It knows nothing of distillation beyond naming its taps."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.classes = list(config.data.classes)

    @abstractmethod
    def voxelise(self, batch: Batch) -> Voxels:
        """The batch's points on a coordinate map, which several detectors may share."""

    @abstractmethod
    def tap_channels(self) -> dict[str, int]:
        """Names of the taps and how many channels each has."""

    @abstractmethod
    def forward(self, batch: Batch, voxels: Voxels | None = None) -> Prediction:
        """Predict; ``voxels``, where given, are those of another detector of the same geometry."""

    @abstractmethod
    def loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms; their sum is the detection loss."""

    @abstractmethod
    def detect(self, prediction: Prediction) -> list[Detections]:
        """Decoded boxes after non-maximum suppression, one entry a frame."""
