"""What the loop trains: a detector together with its loss."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from mink_pd.config import DataConfig
from mink_pd.data.loading.batch import Batch
from mink_pd.models.detector import Detector


class Objective(Protocol):
    """Maps a batch to loss terms. An ``nn.Module`` with an attribute ``detector`` satisfies the protocol.

    detector: the network that is validated and exported. Other parameters (adapters) are used only in training.
    teacher_data: settings of the data for a teacher that sees points of the training frames which the detector does not
    see; None where there is none. notes: lines for the user at the start.
    """

    detector: Detector
    teacher_data: DataConfig | None
    notes: list[str]

    def begin_epoch(self, epoch: int) -> None:
        """Told before each epoch, the first of which is 1."""
        ...

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Loss terms, already weighted (their sum is the loss), and other scalars that are only logged.

        With several processes, the mean of the terms over the processes is the term of the global batch.
        """
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def train(self, mode: bool = True) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


class DetectionObjective(nn.Module):
    """A detector with only its own loss: the teacher, or the student trained alone."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.teacher_data: DataConfig | None = None
        self.notes: list[str] = []

    def begin_epoch(self, epoch: int) -> None:
        """Every epoch is the same."""

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The detection loss terms; no other logs."""
        return self.detector.loss(self.detector(batch), batch), {}
