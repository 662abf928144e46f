"""PointDistiller (Zhang, Dong, Tai, Ma; CVPR 2023): local distillation with reweighted learning."""

from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from mink_pd.config.methods import SelectionConfig
from mink_pd.distill.importance import select
from mink_pd.distill.methods.base import Channels, Method
from mink_pd.distill.methods.pointdistiller.edges import compare_edges
from mink_pd.distill.methods.pointdistiller.graph import GraphConv, LocalGraph, local_graph
from mink_pd.distill.pairs import TapPair
from mink_pd.distill.watch import watch
from mink_pd.processes import shared_count
from mink_pd.registry import METHODS


class PointDistillerConfig(SelectionConfig):
    """PointDistiller (Zhang et al., CVPR 2023, section 3)."""

    taps: list[str] = ["bev1", "bev2", "neck"]
    weight: float = Field(1.0, ge=0)
    rows: int = Field(64, ge=1)  # N, rows selected per frame
    neighbours: int = Field(16, ge=1)  # K
    temperature: float = Field(1.0, gt=0)  # tau
    normalise: bool = True  # divide the importance by its mean over the selected rows
    local_distillation: bool = True  # LD: graph features instead of the rows' own
    reweighting: bool = True  # RL: phi instead of 1
    edge: Literal["neighbour", "difference"] = "neighbour"  # [x_j ; x_i] or [x_i - x_j ; x_i]
    knn_space: Literal["coordinates", "features"] = "coordinates"
    teacher_adapter: Literal["trained", "frozen"] = "frozen"  # frozen: a fixed orthogonal map; trained: as published


@METHODS.register("pointdistiller")
class PointDistiller(Method):
    """Selects the important voxels, compares local graphs around them, and weighs each by its importance.

    loss = weight * mean over rows, neighbours, channels of phi_i (G_t - G_s)^2 (section 3, equations 2 and 3).
    """

    Settings = PointDistillerConfig
    settings: PointDistillerConfig

    def __init__(self, name: str, settings: PointDistillerConfig, channels: Channels) -> None:
        super().__init__(name, settings, channels)
        frozen = settings.teacher_adapter == "frozen"
        self.teacher = nn.ModuleDict({
            tap: GraphConv(channels[tap][0], channels[tap][1], settings.edge, frozen=frozen) for tap in settings.taps
        })  # fmt: skip
        self.student = nn.ModuleDict(
            {tap: GraphConv(channels[tap][1], channels[tap][1], settings.edge) for tap in settings.taps}
        )

    def compare(self, pair: TapPair) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one tap (a scalar) and what to watch: largest phi, share inside objects, adapters' magnitudes."""
        selected, phi, graph = self.choose(pair)
        compared = compare_edges(
            cast(GraphConv, self.teacher[pair.name]),
            cast(GraphConv, self.student[pair.name]),
            (pair.teacher.features, pair.student.features),
            graph,
            phi / (graph.degree * mean_rows(graph)),  # (n,): the mean over rows and over each row's neighbours
        )
        magnitudes = {"teacher_rms": compared.teacher_rms, "student_rms": compared.student_rms}
        return compared.loss, watch(pair, selected=selected, phi=phi) | magnitudes

    def choose(self, pair: TapPair) -> tuple[list[Tensor], Tensor, LocalGraph]:
        """The selected rows of each frame, phi (n,) of all of them, and the graph around them.

        Rows are first sorted by position. Coordinate maps order a frame's rows differently in each batch; sorting makes
        ties independent of the other frames of the batch. Centres keep this order, so that near ones share cache.
        """
        settings, tap = self.settings, pair.teacher
        order = tap.order()  # (M,)
        frame, score = tap.frame[order], pair.importance(settings.importance)[order]
        selected = [rows.sort().values for rows in select(score, frame, tap.frames, settings.rows)]
        phi = weights(score, selected, settings)  # (n,)
        positions = (tap.centres if settings.knn_space == "coordinates" else tap.features)[order]
        graph = local_graph(selected, frame, positions, settings.neighbours if settings.local_distillation else 1)
        graph.selected, graph.neighbour = order[graph.selected], order[graph.neighbour]
        return [order[rows] for rows in selected], phi, graph


def mean_rows(graph: LocalGraph) -> float:
    """Mean number of selected rows per process; a sum over rows divided by it averages over all processes' rows."""
    return float(shared_count(len(graph.selected)))


def weights(importance: Tensor, selected: list[Tensor], settings: PointDistillerConfig) -> Tensor:
    """phi (n,): N softmax(s / tau) over the N selected rows of each frame, 1 on average.

    With ``normalise``, s is the importance divided by its mean over these rows, so that tau means the same for every
    kind of importance. Counts of points with the published tau = 0.01 would give one voxel all the weight. Without
    ``reweighting`` all weights are 1.
    """
    return torch.cat([importance.new_zeros(0), *(_weights(importance[rows], settings) for rows in selected)])


def _weights(scores: Tensor, settings: PointDistillerConfig) -> Tensor:
    if not settings.reweighting or len(scores) == 0:
        return torch.ones_like(scores)
    if settings.normalise:
        scores = scores / scores.mean().clamp(min=1e-12)
    return len(scores) * torch.softmax(scores / settings.temperature, dim=0)
