"""Fine-grained feature imitation (Wang et al., CVPR 2019)."""

import torch
from pydantic import Field
from torch import Tensor

from mink_pd.config.methods import FeatureConfig
from mink_pd.distill.methods.adapters import AdaptedMethod
from mink_pd.distill.methods.near_objects import near_objects
from mink_pd.distill.pairs import TapPair
from mink_pd.distill.watch import watch
from mink_pd.processes import shared_count
from mink_pd.registry import METHODS


class FineGrainedConfig(FeatureConfig):
    """Fine-grained imitation near anchors (Wang et al., CVPR 2019): lambda is ``weight``."""

    weight: float = Field(0.01, ge=0)
    near: float = Field(0.5, ge=0, le=1)  # psi: a site is near from this share of the object's best IoU


@METHODS.register("fine_grained")
class FineGrained(AdaptedMethod):
    """1 / (2 N_p) sum_ij I_ij sum_c (f(S)_ijc - T_ijc)^2 over the sites near objects (section 3).

    I marks sites with an anchor whose IoU with an object exceeds psi times the object's best; N_p counts them over the
    batch; f is a 1 x 1 convolution. Departure: the anchor is the object's own box (:func:`near_objects`). Occupied
    sites only: an object without any teaches nothing.
    """

    Settings = FineGrainedConfig
    settings: FineGrainedConfig

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        selected = near_objects(pair, self.settings.near)
        near = torch.cat(selected)  # (n,)
        target, ours = pair.teacher.features[near], self.adapt(pair, near)  # (n, C_t) each
        loss = (target - ours).square().sum() / (2 * shared_count(len(near)))
        return loss, watch(pair, selected=selected, teacher=target, student=ours)
