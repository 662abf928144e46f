"""Attention-guided and non-local distillation (Zhang & Ma, ICLR 2021)."""

import torch
from pydantic import Field
from torch import Tensor

from mink_pd.config.methods import RowsConfig
from mink_pd.distill.methods.adapters import AdaptedMethod
from mink_pd.distill.methods.selected_rows import all_rows, frame_mean, important_rows
from mink_pd.distill.pairs import TapPair
from mink_pd.distill.watch import watch
from mink_pd.registry import METHODS


class AttentionGuidedConfig(RowsConfig):
    """Attention-guided and non-local distillation (Zhang & Ma, ICLR 2021); ``rows`` are the non-local module's."""

    attention: float = Field(2e-2, ge=0)  # weight of the attention maps, as published for one-stage detectors
    features: float = Field(4e-4, ge=0)  # weight of the features under the masks
    non_local: float = Field(4e-4, ge=0)  # weight of the non-local relations
    temperature: float = Field(0.5, gt=0)  # of the masks


@METHODS.register("attention_guided")
class AttentionGuided(AdaptedMethod):
    """Features under the attention of both networks, the attention itself, and non-local relations (section 3).

    Attention of a site G^s = mean_c |A|, of a channel G^c = mean_ij |A|. Masks M^s = H W softmax((G^s(S) + G^s(T)) / T)
    and M^c = C softmax((G^c(S) + G^c(T)) / T).
    loss = ``attention`` (||G^s(S) - G^s(T)||_2 + ||G^c(S) - G^c(T)||_2) + ``features`` (sum (A_T - A_S)^2 M^s M^c)^1/2
    + ``non_local`` ||r(S) - r(T)||_2, r_i = sum_j f(A_i, A_j) g(A_j) normalised over j.
    Departures: H W is the number of a frame's sites, mean over frames; one 1 x 1 convolution of the student serves all
    terms; non-local relations are among the selected rows, with f = softmax(A_i A_j / sqrt C) and g = 1, the module's
    Gaussian form without parameters: trained ones on the teacher's side could shrink. No gradient through the masks.
    """

    Settings = AttentionGuidedConfig
    settings: AttentionGuidedConfig

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        theirs, ours = pair.teacher.features, self.adapt(pair)  # (M, C_t) each
        whole, selected = all_rows(pair), important_rows(pair, self.settings)
        largest = []  # weight of a site in its frame

        def guided(rows: Tensor) -> Tensor:
            t, s = theirs[rows], ours[rows]  # (M_f, C_t) each
            strengths = t.abs(), s.abs()
            of_site, of_channel = ([x.mean(dim=dim) for x in strengths] for dim in (1, 0))  # (M_f,), (C_t,) twice
            site_mask, channel_mask = self.mask(of_site), self.mask(of_channel)
            largest.append(site_mask.max())
            root = site_mask.sqrt()[:, None] * channel_mask.sqrt()  # (M_f, C_t)
            attention = distance(*of_site) + distance(*of_channel)
            return self.settings.attention * attention + self.settings.features * distance(t * root, s * root)

        def related(rows: Tensor) -> Tensor:
            return self.settings.non_local * distance(non_local(ours[rows]), non_local(theirs[rows]))

        loss = frame_mean(whole, guided) + frame_mean(selected, related)
        return loss, watch(pair, selected=selected, phi=torch.stack(largest), teacher=theirs, student=ours)

    @torch.no_grad()
    def mask(self, attention: list[Tensor]) -> Tensor:
        """Weights (n,) of mean 1 from the attention (n,) of both networks."""
        both = torch.stack(attention).sum(dim=0)
        return len(both) * torch.softmax(both / self.settings.temperature, dim=0)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """||a - b||_2 of whole tensors; where they are equal its gradient is 0, not undefined."""
    return torch.linalg.vector_norm(a - b)


def non_local(x: Tensor) -> Tensor:
    """r (N, C) of features (N, C): for each row, the mean of all rows weighted by similarity."""
    return torch.softmax(x @ x.t() / x.shape[1] ** 0.5, dim=1) @ x
