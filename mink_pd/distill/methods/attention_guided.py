"""Attention-guided and non-local distillation (Zhang & Ma, ICLR 2021)."""

import torch
from torch import Tensor

from mink_pd.config_methods import AttentionGuidedConfig
from mink_pd.distill.methods.adapters import AdaptedMethod
from mink_pd.distill.methods.rows import all_rows, frame_mean, important_rows
from mink_pd.distill.pairs import TapPair
from mink_pd.distill.watch import watch


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

    settings: AttentionGuidedConfig

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        theirs, ours = pair.teacher.features, self.adapt(pair)  # (M, C_t) each
        whole, selected = all_rows(pair), important_rows(pair, self.settings)
        largest = []  # weight of a site in its frame

        def guided(rows: Tensor) -> Tensor:
            t, s = theirs[rows], ours[rows]  # (M_f, C_t) each
            attention = distance(s.abs().mean(dim=1), t.abs().mean(dim=1))
            attention = attention + distance(s.abs().mean(dim=0), t.abs().mean(dim=0))
            of_site, of_channel = self.masks(s, t)
            largest.append(of_site.max())
            root = of_site.sqrt()[:, None] * of_channel.sqrt()  # (M_f, C_t)
            return self.settings.attention * attention + self.settings.features * distance(s * root, t * root)

        def related(rows: Tensor) -> Tensor:
            return self.settings.non_local * distance(non_local(ours[rows]), non_local(theirs[rows]))

        loss = frame_mean(whole, guided) + frame_mean(selected, related)
        return loss, watch(pair, selected=selected, phi=torch.stack(largest), teacher=theirs, student=ours)

    @torch.no_grad()
    def masks(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """M^s (M_f,) and M^c (C,) of features (M_f, C); each is 1 on average."""
        both = s.abs() + t.abs()
        of_site = len(both) * torch.softmax(both.mean(dim=1) / self.settings.temperature, dim=0)
        of_channel = both.shape[1] * torch.softmax(both.mean(dim=0) / self.settings.temperature, dim=0)
        return of_site, of_channel


def distance(a: Tensor, b: Tensor) -> Tensor:
    """||a - b||_2 of whole tensors; its gradient is 0, not undefined, where they are equal."""
    return torch.linalg.vector_norm(a - b)


def non_local(x: Tensor) -> Tensor:
    """r (N, C) of features (N, C): each row's mean of all rows, by likeness."""
    return torch.softmax(x @ x.t() / x.shape[1] ** 0.5, dim=1) @ x
