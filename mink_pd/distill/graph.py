"""The local graph of PointDistiller: neighbours of selected voxels and a dynamic graph convolution over them."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mink_pd.sparse import knn
from mink_pd.sparse.norm import BatchNorm


@dataclass
class LocalGraph:
    """Edges from selected rows to their neighbours in the same frame.

    selected: int64 (n,), rows of the tap; centre: int64 (E,), the edge's row within ``selected``; neighbour: int64
    (E,), a row of the tap; share: (E,), 1 / number of edges of that centre.
    """

    selected: Tensor
    centre: Tensor
    neighbour: Tensor
    share: Tensor

    def touched(self, count: int) -> tuple[Tensor, Tensor]:
        """The rows (U,) of ``count`` that are a neighbour of any, and where each row stands among them (count,)."""
        used = torch.zeros(count, dtype=torch.bool, device=self.neighbour.device)
        used[self.neighbour] = True
        return torch.nonzero(used)[:, 0], used.cumsum(0) - 1


def local_graph(selected: list[Tensor], frame: Tensor, places: Tensor, k: int) -> LocalGraph:
    """Connect the selected rows of each frame with their ``k`` nearest rows; ``places`` (M, D) are in metres.

    A row is its own nearest neighbour. A frame with fewer than ``k`` rows gives a smaller graph.
    """
    centres, neighbours, shares, count = [], [], [], 0
    for index, rows in enumerate(selected):
        if len(rows) == 0:
            continue
        here = torch.nonzero(frame == index)[:, 0]
        near = here[knn(places[rows], places[here], k)]  # (n_f, k)
        centre = torch.arange(count, count + len(rows), device=rows.device)
        centres.append(centre.repeat_interleave(near.shape[1]))
        neighbours.append(near.reshape(-1))
        shares.append(places.new_full((near.numel(),), 1 / near.shape[1]))
        count += len(rows)
    return LocalGraph(torch.cat(selected), torch.cat(centres), torch.cat(neighbours), torch.cat(shares))


class GraphConv(nn.Module):
    """Edge features through one shared linear map, batch norm and ReLU (DGCNN's EdgeConv; PointDistiller, eq. 1).

    Linear before the norm, so W [x_j ; x_i] = W1 x_j + W2 x_i: rows are projected once, then gathered; the (E, 2C)
    edge features are never made. ``frozen`` keeps a fixed orthogonal map and a norm without parameters: a target that
    the adapters cannot agree to shrink.
    """

    def __init__(
        self, channels: int, out: int, edge: Literal["neighbour", "difference"], *, frozen: bool = False
    ) -> None:
        super().__init__()
        self.edge, self.frozen = edge, frozen
        self.linear = nn.Linear(2 * channels, out, bias=False)
        self.norm = BatchNorm(out, affine=not frozen, track_running_stats=False)
        if frozen:
            nn.init.orthogonal_(self.linear.weight)
            self.linear.requires_grad_(False)

    def forward(self, x: Tensor, graph: LocalGraph) -> Tensor:
        """Features x (M, C) -> edge features (E, C')."""
        neighbour, own = self.linear.weight.chunk(2, dim=1)  # (C', C) each
        if self.edge == "difference":  # [x_i - x_j ; x_i]
            neighbour, own = -neighbour, neighbour + own
        rows, place = graph.touched(len(x))  # (U,): projecting only these is what few selected rows save
        near = (x[rows] @ neighbour.t())[place[graph.neighbour]]  # (E, C')
        centre = (x[graph.selected] @ own.t())[graph.centre]  # (E, C')
        return torch.relu(self.norm(near + centre))
