"""SparseKD: logits at pivotal positions (Yang et al., NeurIPS 2022)."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from mink_pd.config.methods import MethodConfig
from mink_pd.distill.importance import select
from mink_pd.distill.methods.heads import BoxMethod, relative
from mink_pd.distill.pairs import TapPair
from mink_pd.distill.watch import watch
from mink_pd.processes import shared_count
from mink_pd.registry import METHODS


class SparseKDConfig(MethodConfig):
    """SparseKD's logits at pivotal positions (Yang et al., NeurIPS 2022)."""

    taps: list[Literal["scores", "boxes"]] = ["scores", "boxes"]
    rows: int = Field(64, ge=1)  # pivotal positions a frame
    classification: float = Field(10.0, ge=0)
    box: float = Field(0.2, ge=0)


@METHODS.register("sparsekd")
class SparseKD(BoxMethod):
    """Class probabilities and boxes at the few sites that the teacher's classification finds pivotal.

    ``classification`` sum_i m_i (p_T - p_S)^2 / sum_i m_i and ``box`` sum_i m_i |b_T - b_S| / sum_i m_i, m the
    teacher's confidence at its ``rows`` highest-scoring sites of each frame (the soft mask and the ranked choice).
    The rest of the recipe: label distillation is ``distill.labels: teacher``, teacher-guided initialisation
    ``distill.initialise: teacher``. Departures: boxes at all pivotal positions, not at labelled objects alone; of heads
    with anchors their residuals, each weighed by its own confidence, and the sine of the angle's difference.
    """

    Settings = SparseKDConfig
    settings: SparseKDConfig

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        frame = pair.teacher.frame  # (S,)
        confidence = self.box_scores(pair, torch.arange(len(frame), device=frame.device))  # (S, A)
        selected = select(confidence.amax(dim=1), frame, len(pair.batch), self.settings.rows)
        pivotal = torch.cat(selected)  # (n,)
        theirs, ours = (tap.features[pivotal] for tap in (pair.teacher, pair.student))
        if pair.name == "scores":
            weight, mask = self.settings.classification, confidence[pivotal].amax(dim=1)  # (n,)
            each = (theirs.sigmoid() - ours.sigmoid()).square().sum(dim=1)
        else:
            weight, mask = self.settings.box, confidence[pivotal]  # (n, A)
            each = self.layout.distance(self.layout.split(theirs), self.layout.split(ours))
        loss = weight * (mask * each).sum() / shared_count(mask.sum(), least=1e-6)
        return loss, watch(pair, selected=selected, phi=relative(mask), teacher=theirs, student=ours)
