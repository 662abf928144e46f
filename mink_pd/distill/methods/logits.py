"""Soft targets (Hinton, Vinyals & Dean 2015)."""

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mink_pd.config.methods import MethodConfig
from mink_pd.distill.methods.heads import HeadMethod
from mink_pd.distill.pairs import TapPair
from mink_pd.processes import shared_count
from mink_pd.registry import METHODS


class LogitsConfig(MethodConfig):
    """Soft targets (Hinton, Vinyals & Dean 2015)."""

    taps: list[Literal["scores"]] = ["scores"]
    temperature: float = Field(2.0, gt=0)


@METHODS.register("logits")
class Logits(HeadMethod):
    """T^2 KL(p_T || p_S) of the class probabilities at temperature T (section 2).

    Departures: detectors have a separate sigmoid for each class, so p is Bernoulli, and divergences are summed over
    sites, anchors and classes. The sum is not divided by the number of examples, because nearly all of them are
    background, but by the sum of the teacher's highest score at each site, the number of positives that it expects.
    """

    Settings = LogitsConfig
    settings: LogitsConfig

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        temperature = self.settings.temperature
        theirs, ours = (tap.features / temperature for tap in (pair.teacher, pair.student))  # (S, A classes) each
        p = theirs.sigmoid()
        each = p * (F.logsigmoid(theirs) - F.logsigmoid(ours))
        each = each + (1 - p) * (F.logsigmoid(-theirs) - F.logsigmoid(-ours))
        expected = pair.scores().sigmoid().amax(dim=1).sum()
        return temperature**2 * each.sum() / shared_count(expected), {}
