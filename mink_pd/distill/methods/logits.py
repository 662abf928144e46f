"""Soft targets (Hinton, Vinyals & Dean 2015)."""

import torch.nn.functional as F
from torch import Tensor

from mink_pd.config_methods import LogitsConfig
from mink_pd.distill.methods.heads import check_heads
from mink_pd.distill.methods.method import Channels, Method
from mink_pd.distill.pairs import TapPair


class Logits(Method):
    """T^2 KL(p_T || p_S) of the class probabilities at temperature T (section 2).

    Departures: detectors score each class by a sigmoid of its own, so p is Bernoulli, and the divergences of a site's
    anchors and classes are summed; an example is a site; the mean over the sites, background and all, of the batch.
    """

    settings: LogitsConfig

    def __init__(self, name: str, settings: LogitsConfig, channels: Channels) -> None:
        super().__init__(name, settings, channels)
        check_heads(name, channels)

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        temperature = self.settings.temperature
        theirs, ours = (tap.features / temperature for tap in (pair.teacher, pair.student))  # (S, A classes) each
        p = theirs.sigmoid()
        each = p * (F.logsigmoid(theirs) - F.logsigmoid(ours))
        each = each + (1 - p) * (F.logsigmoid(-theirs) - F.logsigmoid(-ours))
        return temperature**2 * each.sum(dim=1).mean(), {}
