"""Attention transfer (Zagoruyko & Komodakis, ICLR 2017)."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mink_pd.config.methods import FeatureConfig
from mink_pd.distill.methods.base import Method
from mink_pd.distill.methods.selected_rows import all_rows, frame_mean
from mink_pd.distill.pairs import TapPair
from mink_pd.registry import METHODS


class AttentionTransferConfig(FeatureConfig):
    """Attention transfer (Zagoruyko & Komodakis, ICLR 2017): beta is ``weight`` over the sites of a frame."""

    weight: float = Field(1000.0, ge=0)


@METHODS.register("attention_transfer")
class AttentionTransfer(Method):
    """Activation-based attention: beta / 2 || Q_S / ||Q_S|| - Q_T / ||Q_T|| ||_2, Q = sum_c |A_c|^2 (eq. 2).

    Q runs over the sites of a frame, and beta is ``weight`` divided by their number, as published; mean over frames.
    No adapter: the sum over channels leaves one number per site. Departure: empty cells are not part of the map.
    """

    Settings = AttentionTransferConfig
    settings: AttentionTransferConfig

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        theirs, ours = (tap.features.square().sum(dim=1) for tap in (pair.teacher, pair.student))  # (M,) each

        def loss(rows: Tensor) -> Tensor:
            difference = F.normalize(ours[rows], dim=0) - F.normalize(theirs[rows], dim=0)  # (M_f,)
            return torch.linalg.vector_norm(difference) / (2 * len(rows))

        return frame_mean(all_rows(pair), loss), {}
