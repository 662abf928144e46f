"""Sparse convolution blocks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mink_pd.sparse.conv import Epilogue, GenerativeConvTranspose, SparseConv
from mink_pd.sparse.minkowski import ME, make_sparse
from mink_pd.sparse.norm import BatchNorm, norm_relu

EPSILON, MOMENTUM = 1e-3, 0.01  # of batch norm, as in SECOND and PointPillars


def with_features(tensor: "ME.SparseTensor", features: Tensor) -> "ME.SparseTensor":
    """Other features (M, C) on the same coordinate map."""
    return make_sparse(features, tensor.coordinate_map_key, tensor.coordinate_manager)


class ConvBlock(nn.Module):
    """Sparse convolution without bias, batch norm, ReLU; the latter two folded into the convolution at inference.

    It writes to the ``sites`` it is given, or else to those of its stride; with ``grow`` to all that its kernel
    reaches; ``transposed`` goes to finer ones. Without ``relu`` it ends with the norm.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 1,
        *,
        transposed: bool = False,
        grow: bool = False,
        dimension: int = 2,
        relu: bool = True,
    ) -> None:
        super().__init__()
        layer = GenerativeConvTranspose if transposed else SparseConv
        extra = {} if transposed else {"expand_coordinates": grow}
        self.convolution = layer(channels_in, channels_out, kernel, stride, dimension=dimension, **extra)
        self.norm = BatchNorm(channels_out, eps=EPSILON, momentum=MOMENTUM)
        self.relu = relu
        # He et al. 2015: variance 2 / fan-in; MinkowskiEngine's default is smaller for few channels.
        nn.init.kaiming_normal_(self.convolution.kernel.data.view(-1, channels_out).t(), nonlinearity="relu")
        self._folded: Any = None
        self._folded_state: list[tuple[int, int]] = []

    def forward(
        self, x: "ME.SparseTensor", sites: "ME.CoordinateMapKey | None" = None, into: Tensor | None = None
    ) -> "ME.SparseTensor":
        """``into`` (M, C), a part of wider rows, takes the features at inference."""
        if not self.training and not torch.is_grad_enabled():
            return self.convolution(x, sites, self._norm_and_relu(), into)
        y = self.convolution(x, sites)
        return with_features(y, norm_relu([y.F], [self.norm], self.relu))

    def train(self, mode: bool = True) -> "ConvBlock":
        if mode:  # neither batch norm nor a fused optimiser counts its writes as versions
            self._folded_state = []
        return super().train(mode)

    def _norm_and_relu(self) -> Epilogue:
        """Of the running statistics: (x - mean) / sqrt(variance + eps) * weight + bias, then the positive part if there
        is a ReLU."""
        norm: Any = self.norm
        parts = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        state = [(id(part), part._version) for part in parts]  # changes with a write, but for those in training
        if state != self._folded_state:
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            self._folded = Epilogue(scale, norm.bias - norm.running_mean * scale, self.relu)
            self._folded_state = state
        return self._folded
