"""FitNets (Romero et al., ICLR 2015)."""

from torch import Tensor

from mink_pd.config.methods import FeatureConfig
from mink_pd.distill.methods.adapters import AdaptedMethod
from mink_pd.distill.pairs import TapPair
from mink_pd.distill.watch import watch
from mink_pd.processes import shared_count
from mink_pd.registry import METHODS


class FitNetsConfig(FeatureConfig):
    """FitNets (Romero et al., ICLR 2015)."""


@METHODS.register("fitnets")
class FitNets(AdaptedMethod):
    """Hints: 1/2 ||u - r(v)||^2 between the teacher's features u and the student's v through a regressor r (eq. 3).

    Departures: the mean over sites and channels instead of their sum, so that the weight does not depend on the number
    of sites in a frame. The loss is added to the detection loss from the first step on, instead of a stage before it.
    """

    Settings = FitNetsConfig
    settings: FitNetsConfig

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        hint, ours = pair.teacher.features, self.adapt(pair)  # (M, C_t) each
        loss = 0.5 * (hint - ours).square().sum() / shared_count(hint.numel())
        return loss, watch(pair, teacher=hint, student=ours)
