"""The contract of a method: a module from pairs of taps to loss terms and logs. It knows nothing of detectors."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from mink_pd.config.section import Section
from mink_pd.distill.pairs import TapPair
from mink_pd.models.heads.box_layout import BoxLayout

Channels = dict[str, tuple[int, int]]  # per tap of a method: (teacher's, student's)
Terms = tuple[dict[str, Tensor], dict[str, Tensor]]


class Method(nn.Module, ABC):
    """One loss term per tap, ``NAME_TAP``, and logs ``NAME/TAP/WHAT``; NAME is the method's name in the configuration.

    Trained with the student, dropped at inference. The teacher's features carry no gradient.
    """

    Settings: ClassVar[type[Section]]  # the method's section of the configuration
    settings: Any

    def __init__(self, name: str, settings: Any, channels: Channels) -> None:
        """``channels``: of the taps that the method will compare. Raises DistillError for taps that the method cannot
        compare.
        """
        super().__init__()
        self.name, self.settings = name, settings

    def attach(self, layout: BoxLayout | None) -> None:
        """Told once, before the first batch: how to read the taps ``scores`` and ``boxes``, None where ``boxes`` are no
        plain codes. Raises DistillError for a head that the method cannot compare."""

    def forward(self, pairs: list[TapPair]) -> Terms:
        """Weighted loss terms and logs of one batch."""
        losses: dict[str, Tensor] = {}
        logs: dict[str, Tensor] = {}
        for pair in pairs:
            loss, seen = self.compare(pair)
            losses[f"{self.name}_{pair.name}"] = self.settings.weight * loss
            logs |= {f"{self.name}/{pair.name}/{key}": value for key, value in seen.items()}
        return losses, logs

    @abstractmethod
    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one tap (a scalar) and values to log."""
