"""A comprehensive overhaul of feature distillation (Heo et al., ICCV 2019)."""

import math

import torch
from torch import Tensor

from mink_pd.config.methods import FeatureConfig
from mink_pd.distill.methods.adapters import AdaptedMethod
from mink_pd.distill.pairs import TapPair
from mink_pd.distill.watch import watch
from mink_pd.processes import shared_count, sum_over_processes
from mink_pd.registry import METHODS


class OverhaulConfig(FeatureConfig):
    """Feature overhaul with margin ReLU (Heo et al., ICCV 2019)."""


@METHODS.register("overhaul")
class Overhaul(AdaptedMethod):
    """d_p(max(T, m), r(S)): margin ReLU on the teacher, 1 x 1 convolution and batch norm r on the student (section 3).

    d_p = sum of 0 where S <= T <= 0, else (T - S)^2: a student below the target of an inactive unit is right.
    m is each channel's mean negative response, E[x | x < 0].
    Departures: taps lie after the ReLU, where a negative response is 0. Such a 0 becomes m. As in the paper, m assumes
    normally distributed responses, but it follows from how often and how strongly the channel is active in the batch
    instead of from the preceding batch norm. The loss is the mean over sites and channels, not the sum.
    """

    Settings = OverhaulConfig
    settings: OverhaulConfig
    norm = True

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        theirs = pair.teacher.features  # (M, C_t)
        target = torch.where(theirs > 0, theirs, margin(theirs))
        ours = self.adapt(pair)  # (M, C_t)
        right = (ours <= target) & (target <= 0)
        each = torch.where(right, 0, (target - ours).square())
        return each.sum() / shared_count(each.numel()), watch(pair, teacher=target, student=ours)


def margin(active: Tensor) -> Tensor:
    """m (C,) <= 0: E[x | x < 0] of normal x whose positive part has the share of positives and mean of (M, C).

    With z = mu / sigma: P(x > 0) = Phi(z), E[max(x, 0)] = sigma (z Phi(z) + phi(z)), E[x | x < 0] = sigma (z -
    phi(z) / Phi(-z)). A channel that is always or never active counts as such except for half a site.
    """
    own = torch.stack([torch.ones_like(active), (active > 0).to(active.dtype), active.clamp(min=0)]).sum(dim=1)
    count, positive, total = sum_over_processes(own)  # (C,) each, over the sites of all processes
    share = (positive / count).clamp(0.5 / count, 1 - 0.5 / count)
    z = torch.special.ndtri(share)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    sigma = total / count / (z * share + density)
    return sigma * (z - density / (1 - share))
