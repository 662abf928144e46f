"""PointDistiller (Zhang, Dong, Tai, Ma; CVPR 2023): local distillation with reweighted learning."""

import torch
from torch import Tensor, nn

from mink_pd.config import PointDistillerConfig
from mink_pd.distill.graph import GraphConv, local_graph
from mink_pd.distill.importance import inside_share, select
from mink_pd.distill.pairs import TapPair

Terms = tuple[dict[str, Tensor], dict[str, Tensor]]


class PointDistiller(nn.Module):
    """Selects the important voxels, compares local graphs around them, and weighs each by its importance.

    loss = weight * mean over rows, neighbours, channels of phi_i (G_t - G_s)^2 (section 3, equations 2 and 3).
    """

    def __init__(self, settings: PointDistillerConfig, channels: dict[str, tuple[int, int]]) -> None:
        """``channels``: for each tap those of the teacher and of the student."""
        super().__init__()
        self.settings = settings
        frozen = settings.teacher_adapter == "frozen"
        self.teacher = nn.ModuleDict({
            tap: GraphConv(channels[tap][0], channels[tap][1], settings.edge, frozen=frozen) for tap in settings.taps
        })  # fmt: skip
        self.student = nn.ModuleDict(
            {tap: GraphConv(channels[tap][1], channels[tap][1], settings.edge) for tap in settings.taps}
        )

    def forward(self, pairs: list[TapPair]) -> Terms:
        """Loss terms and logs, one of each a tap."""
        losses: dict[str, Tensor] = {}
        logs: dict[str, Tensor] = {}
        for pair in pairs:
            loss, seen = self.compare(pair)
            losses[f"pointdistiller_{pair.name}"] = self.settings.weight * loss
            logs |= {f"pointdistiller/{pair.name}/{key}": value for key, value in seen.items()}
        return losses, logs

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one tap (a scalar) and what to watch: largest phi, share inside objects, adapters' magnitudes."""
        settings = self.settings
        frame, frames = pair.teacher.frame, pair.teacher.frames
        score = pair.importance(settings.importance)  # (M,)
        selected = select(score, frame, frames, settings.rows)
        phi = weights(score, selected, settings)  # (n,)
        places = pair.teacher.centres if settings.knn_space == "coordinates" else pair.teacher.features
        graph = local_graph(selected, frame, places, settings.neighbours if settings.local_distillation else 1)
        target = self.teacher[pair.name](pair.teacher.features, graph)  # (E, C')
        ours = self.student[pair.name](pair.student.features, graph)  # (E, C')
        each = (target - ours).square().mean(dim=1)  # (E,)
        loss = (each * phi[graph.centre] * graph.share).sum() / len(graph.selected)
        shares = [inside_share(pair.teacher.centres[r], b) for r, b in zip(selected, pair.batch.boxes, strict=True)]
        return loss, {
            "largest_phi": phi.max(),
            "inside": torch.stack(shares).mean(),
            "teacher_rms": target.detach().square().mean().sqrt(),
            "student_rms": ours.detach().square().mean().sqrt(),
        }


def weights(importance: Tensor, selected: list[Tensor], settings: PointDistillerConfig) -> Tensor:
    """phi (n,): N softmax(s / tau) over the N selected rows of each frame, 1 on average.

    With ``normalise`` s is the importance over its mean among these rows, so that tau means the same for every kind of
    importance: counts of points as published, with tau = 0.01, would give one voxel all the weight. All 1 without
    ``reweighting``.
    """
    return torch.cat([importance.new_zeros(0), *(_weights(importance[rows], settings) for rows in selected)])


def _weights(scores: Tensor, settings: PointDistillerConfig) -> Tensor:
    if not settings.reweighting or len(scores) == 0:
        return torch.ones_like(scores)
    if settings.normalise:
        scores = scores / scores.mean().clamp(min=1e-12)
    return len(scores) * torch.softmax(scores / settings.temperature, dim=0)
