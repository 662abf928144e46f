"""The local graph of PointDistiller: neighbours of selected voxels and a dynamic graph convolution over them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from mink_pd.sparse import knn, some_rows
from mink_pd.sparse.norm import BatchNorm


@dataclass
class LocalGraph:
    """Edges from selected rows to their neighbours in the same frame.

    selected: int64 (n,), rows of the tap; neighbour: int64 (E,), rows of the tap, centre by centre; degree: int64 (n,),
    how many edges each centre has; rows: M, how many rows the tap has.
    """

    selected: Tensor
    neighbour: Tensor
    degree: Tensor
    rows: int

    @cached_property
    def centre(self) -> Tensor:
        """int64 (E,), the edge's row within ``selected``."""
        return torch.arange(len(self.degree), device=self.degree.device).repeat_interleave(self.degree)

    @cached_property
    def touched(self) -> tuple[Tensor, Tensor]:
        """The rows (U,) that are a neighbour of any, and where each edge's neighbour stands among them (E,)."""
        used = torch.zeros(self.rows, dtype=torch.bool, device=self.neighbour.device)
        used[self.neighbour] = True
        return torch.nonzero(used)[:, 0], (used.cumsum(0) - 1)[self.neighbour]


def local_graph(selected: list[Tensor], frame: Tensor, positions: Tensor, k: int) -> LocalGraph:
    """Connect the selected rows of each frame with their ``k`` nearest rows; ``positions`` (M, D) are in metres.

    A row is its own nearest neighbour. A frame with fewer than ``k`` rows gives a smaller graph.
    """
    neighbours, degrees = [], []
    for index, rows in enumerate(selected):
        if len(rows) == 0:
            continue
        here = torch.nonzero(frame == index)[:, 0]
        near = here[knn(positions[rows], positions[here], k)]  # (n_f, k)
        neighbours.append(near.reshape(-1))
        degrees.append(torch.full_like(rows, near.shape[1]))
    return LocalGraph(torch.cat(selected), torch.cat(neighbours), torch.cat(degrees), len(frame))


class GraphConv(nn.Module):
    """Edge features through one shared linear map, batch norm and ReLU (DGCNN's EdgeConv; PointDistiller, eq. 1).

    The map is linear before the norm, so W [x_j ; x_i] = W1 x_j + W2 x_i: rows are projected once, then gathered, and
    the (E, 2C) edge features are never stored. ``frozen`` keeps a fixed orthogonal map and a norm without parameters: a
    target that the adapters cannot agree to shrink.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        edge: Literal["neighbour", "difference"],
        *,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.edge, self.frozen = edge, frozen
        self.linear = nn.Linear(2 * channels, out, bias=False)
        self.norm = BatchNorm(out, affine=not frozen, track_running_stats=False)
        if frozen:
            nn.init.orthogonal_(self.linear.weight)
            self.linear.requires_grad_(False)

    def project(self, x: Tensor, rows: Tensor, selected: Tensor) -> tuple[Tensor, Tensor]:
        """Of features x (M, C), the neighbours' part W1 x_j (U, C') of ``rows`` and the centres' W2 x_i (n, C').

        Only rows that are a neighbour of a selected row are projected.
        """
        neighbour, own = self.linear.weight.chunk(2, dim=1)  # (C', C) each
        if self.edge == "difference":  # [x_i - x_j ; x_i]
            neighbour, own = -neighbour, neighbour + own
        return some_rows(x, rows) @ neighbour.t(), some_rows(x, selected) @ own.t()

    def forward(self, x: Tensor, graph: LocalGraph) -> Tensor:
        """Features x (M, C) -> edge features (E, C')."""
        rows, index = graph.touched
        near, centre = self.project(x, rows, graph.selected)
        return torch.relu(self.norm(near[index] + centre[graph.centre]))
