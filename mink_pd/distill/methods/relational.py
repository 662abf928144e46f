"""Relational distillation (Park et al., CVPR 2019)."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mink_pd.config.methods import RowsConfig
from mink_pd.distill.methods.base import Method
from mink_pd.distill.methods.selected_rows import frame_mean, important_rows
from mink_pd.distill.pairs import TapPair
from mink_pd.distill.watch import watch
from mink_pd.registry import METHODS


class RelationalConfig(RowsConfig):
    """Relational distillation (Park et al., CVPR 2019)."""

    rows: int = Field(64, ge=1)  # angles are taken over all triples of rows
    distance: float = Field(25.0, ge=0)
    angle: float = Field(50.0, ge=0)


@METHODS.register("relational")
class Relational(Method):
    """``distance`` sum_ij l(psi_D(t), psi_D(s)) + ``angle`` sum_ijk l(psi_A(t), psi_A(s)) over pairs and triples.

    psi_D = ||t_i - t_j|| / mu, mu the mean over the pairs; psi_A = cos of the angle at t_j between t_i and t_k; l the
    Huber loss (section 3). No adapter. The sums are means over pairs and triples, as in the published weights.
    Departure: an example is a selected row, not an image, and pairs and triples are of one frame; mean over frames.
    """

    Settings = RelationalConfig
    settings: RelationalConfig

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        selected = important_rows(pair, self.settings)
        theirs, ours = pair.teacher.features, pair.student.features

        def loss(rows: Tensor) -> Tensor:
            t, s = theirs[rows], ours[rows]
            far = F.huber_loss(distances(s), distances(t))
            return self.settings.distance * far + self.settings.angle * F.huber_loss(angles(s), angles(t))

        return frame_mean(selected, loss, least=3), watch(pair, selected=selected)


def distances(x: Tensor) -> Tensor:
    """psi_D of all N (N - 1) / 2 pairs of rows (N, C)."""
    found = torch.pdist(x)
    return found / found.mean().clamp(min=1e-6)


def angles(x: Tensor) -> Tensor:
    """psi_A (N, N, N) of all triples of rows (N, C): [j, i, k] is the cosine at j, 0 where j is i or k."""
    e = F.normalize(x[None, :] - x[:, None], dim=2)  # (N, N, C): [j, i] points from j to i
    return e @ e.transpose(1, 2)
