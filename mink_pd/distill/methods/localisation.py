"""Localisation distillation (Zheng et al., CVPR 2022)."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mink_pd.config.methods import MethodConfig
from mink_pd.distill.methods.heads import BoxMethod, relative
from mink_pd.distill.methods.near_objects import near_objects
from mink_pd.distill.pairs import TapPair
from mink_pd.distill.watch import watch
from mink_pd.processes import shared_count
from mink_pd.registry import METHODS


class LocalisationConfig(MethodConfig):
    """Localisation distillation (Zheng et al., CVPR 2022)."""

    taps: list[Literal["boxes"]] = ["boxes"]
    weight: float = Field(0.25, ge=0)
    near: float = Field(0.25, ge=0, le=1)  # gamma: the valuable region from this share of the object's best IoU
    bins: int = Field(17, ge=2)
    reach: float = Field(1.0, gt=0)  # the bins of a residual lie between -reach and reach
    width: float = Field(0.125, gt=0)  # scale of the Laplace distribution around a residual


@METHODS.register("localisation")
class Localisation(BoxMethod):
    """sum_e KL(p_T^e || p_S^e) over the parameters e of a box, near objects (section 3).

    Departures: our heads, as published 3D detectors', regress numbers r (residuals of anchors, or a centre head's code
    with each number brought to about -1..1) and no distribution, so one is put around them: Laplace of scale ``width``,
    p(x) ~ exp(-|x - r| / width), over ``bins`` between -reach and reach; for an anchor's angle exp(-|sin(x - r)| /
    width) over half a turn, for half a turn costs nothing in the detection loss either. This brings the paper's loss on
    the same scale for every parameter and bounds far-off ones, but transfers no uncertainty of the teacher, which is
    half of the paper's point: residuals carry none. Its temperature is part of ``width``.
    The valuable region is where IoU exceeds ``near`` of the object's best; boxes there weigh by the teacher's score.
    """

    Settings = LocalisationConfig
    settings: LocalisationConfig

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        selected = near_objects(pair, self.settings.near)
        near = torch.cat(selected)  # (n,)
        score = self.box_scores(pair, near)  # (n, A)
        layout, taps = self.layout, (pair.teacher, pair.student)
        theirs, ours = (layout.normal(layout.split(tap.features[near])) for tap in taps)  # (n, A, code)
        log_p, log_q = self.log_distribution(theirs), self.log_distribution(ours)  # (n, A, code, bins)
        each = (log_p.exp() * (log_p - log_q)).sum(dim=(2, 3))  # (n, A)
        loss = (score * each).sum() / shared_count(score.sum(), least=1e-6)
        return loss, watch(pair, selected=selected, phi=relative(score), teacher=theirs, student=ours)

    def log_distribution(self, residuals: Tensor) -> Tensor:
        """Logarithms (..., code, bins) of the distributions around residuals (..., code)."""
        settings = self.settings
        steps = torch.arange(settings.bins, dtype=residuals.dtype, device=residuals.device)
        x = settings.reach * (2 * steps / (settings.bins - 1) - 1)  # (bins,)
        far = (x - residuals[..., None]).abs()
        if self.layout.angle is not None:
            angle = math.pi * steps / settings.bins  # half a turn, whose ends are the same
            turned = torch.sin(angle - residuals[..., self.layout.angle, None]).abs()
            far = far.index_copy(-2, torch.tensor([self.layout.angle], device=far.device), turned.unsqueeze(-2))
        return torch.log_softmax(-far / settings.width, dim=-1)
