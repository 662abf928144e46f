"""What the loop trains: a detector with the loss that it is trained by."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from mink_pd.data.batch import Batch
from mink_pd.models.detector import Detector


class Objective(Protocol):
    """A module from a batch to loss terms; an ``nn.Module`` with a ``detector`` satisfies it.

    detector: the network that is validated and exported. Other parameters (adapters) only help to train it.
    """

    detector: Detector

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Loss terms, already weighted (their sum is the loss), and other scalars that are only logged.

        With several processes, the mean of the terms over the processes is that of all their frames together.
        """
        ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def train(self, mode: bool = True) -> Any: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


class DetectionObjective(nn.Module):
    """A detector with its own loss and nothing else: the teacher, and the student alone."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The detection loss terms; no other logs."""
        return self.detector.loss(self.detector(batch), batch), {}
