"""Similarity-preserving distillation (Tung & Mori, ICCV 2019)."""

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mink_pd.config.methods import RowsConfig
from mink_pd.distill.methods.base import Method
from mink_pd.distill.methods.selected_rows import frame_mean, important_rows
from mink_pd.distill.pairs import TapPair
from mink_pd.distill.watch import watch
from mink_pd.registry import METHODS


class SimilarityConfig(RowsConfig):
    """Similarity-preserving distillation (Tung & Mori, ICCV 2019): gamma is ``weight``."""

    weight: float = Field(3000.0, ge=0)


@METHODS.register("similarity")
class Similarity(Method):
    """1 / b^2 ||G_T - G_S||_F^2 with G = Q Q^T, each row over its L2 norm (section 3); no adapter.

    Departure: in the paper the b samples are the images of a batch, and Q holds whole feature maps. Two frames of a
    batch have different sites, and of a 2 x 2 matrix with rows of length 1 little is left to learn. Here the samples
    are the selected rows of one frame and Q their features; mean over frames.
    """

    Settings = SimilarityConfig
    settings: SimilarityConfig

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        selected = important_rows(pair, self.settings)
        theirs, ours = pair.teacher.features, pair.student.features

        def loss(rows: Tensor) -> Tensor:
            return (similarities(theirs[rows]) - similarities(ours[rows])).square().mean()

        return frame_mean(selected, loss), watch(pair, selected=selected)


def similarities(samples: Tensor) -> Tensor:
    """G (b, b) of samples (b, C)."""
    return F.normalize(samples @ samples.t(), dim=1)
