"""PointDistiller's loss in its published formulation, the peer of the fused one."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def published_loss(
    teacher: Tensor,
    student: Tensor,
    neighbours: Tensor,
    phi: Tensor,
    teacher_weight: Tensor,
    student_weight: Tensor,
    *,
    edge: Literal["neighbour", "difference"] = "neighbour",
    eps: float = 1e-5,
) -> Tensor:
    """mean over rows, neighbours and channels of phi_i (G_t - G_s)^2, a scalar (Zhang et al. 2023, equations 1 to 3).

    As in the paper, it works on dense tensors of all N x K edges at once: edge features [x_j ; x_i] (or
    [x_i - x_j ; x_i]) are concatenated, then go through a 1x1 convolution, batch norm without parameters, and ReLU.

    teacher: (M, C_t) and student: (M, C_s), features of the same M rows; neighbours: int64 (N, K), rows of M, the first
    of each the selected row itself; phi: (N,); teacher_weight: (C', 2 C_t) and student_weight: (C', 2 C_s), the maps of
    [neighbour or difference ; own].
    """
    graphs = []
    for features, weight in ((teacher, teacher_weight), (student, student_weight)):
        near = features.t()[:, neighbours]  # (C, N, K)
        own = near[:, :, :1].expand_as(near)  # (C, N, K)
        edges = torch.cat([own - near if edge == "difference" else near, own])[None]  # (1, 2C, N, K)
        projected = functional.conv2d(edges, weight[:, :, None, None])  # (1, C', N, K)
        graphs.append(torch.relu(functional.batch_norm(projected, None, None, training=True, eps=eps)))
    target, ours = graphs
    return ((target - ours).square() * phi[None, None, :, None]).mean()
