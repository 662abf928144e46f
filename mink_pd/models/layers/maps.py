"""Dense bird's-eye-view maps (B, C, y, x): their layers, and conversion between maps and sparse sites."""

from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mink_pd.sparse import ME, Voxels
from mink_pd.sparse.layers import EPSILON, MOMENTUM
from mink_pd.sparse.norm import BatchNorm


class DenseBlock(nn.Module):
    """Convolution without bias, batch norm and ReLU. At inference the norm is folded into the convolution.

    The convolution has the size ``kernel``, or is transposed with kernel = stride.
    """

    def __init__(
        self, channels_in: int, channels_out: int, stride: int = 1, kernel: int = 3, *, transposed: bool = False
    ) -> None:
        super().__init__()
        self.convolution: nn.Conv2d | nn.ConvTranspose2d
        if transposed:
            self.convolution = nn.ConvTranspose2d(channels_in, channels_out, stride, stride, bias=False)
        else:
            padding = kernel // 2 if kernel % 2 else 0  # an even kernel covers exactly the cells of its stride
            self.convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding=padding, bias=False)
        self.norm = BatchNorm(channels_out, eps=EPSILON, momentum=MOMENTUM)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and not torch.is_grad_enabled():
            return self._folded(x).relu_()
        y = self.convolution(x).permute(0, 2, 3, 1)  # (B, y, x, C), the order in memory
        rows = self.norm(y.flatten(0, 2)).relu_()  # (B * y * x, C)
        return rows.view(y.shape).permute(0, 3, 1, 2)

    def _folded(self, x: Tensor) -> Tensor:
        layer, norm = self.convolution, self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        transposed = isinstance(layer, nn.ConvTranspose2d)
        weight, bias = fuse_conv_bn_weights(layer.weight, None, *statistics, transpose=transposed)
        if transposed:
            return functional.conv_transpose2d(x, weight, bias, layer.stride)
        return functional.conv2d(x, weight, bias, layer.stride, padding=layer.padding)

    def multiply_adds(self, x: Tensor) -> int:
        """Multiply-adds: a convolution multiplies at every output cell, a transposed one at every input cell."""
        strides = (1, 1) if isinstance(self.convolution, nn.ConvTranspose2d) else self.convolution.stride
        cells = [-(-edge // step) for edge, step in zip(x.shape[2:], strides, strict=True)]
        return len(x) * prod(cells) * self.convolution.weight.numel()


def spread(x: "ME.SparseTensor", frames: int, grid: tuple[int, ...]) -> Tensor:
    """Sparse features (M, C) as a map (B, C, y, x) of ``grid`` cells along x and y, zero in cells without a site."""
    stride, channels = x.tensor_stride[0], x.F.shape[1]
    frame, column, row = x.C.long().t()
    index = (frame * grid[1] + row // stride) * grid[0] + column // stride  # (M,)
    cells = x.F.new_zeros(frames * grid[1] * grid[0], channels).index_copy(0, index, x.F)
    return cells.view(frames, grid[1], grid[0], channels).permute(
        0, 3, 1, 2
    )  # channels last in memory, which is faster


def read(maps: Tensor, rows: Tensor) -> Tensor:
    """Features (M, C) of a map (B, C, y, x) at the cells ``rows`` (M,), numbered in the order frame, y, x."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)[rows]


def rows_of(maps: Tensor, key: "ME.CoordinateMapKey", voxels: Voxels) -> Tensor:
    """Cells (M,) of a map (B, C, y, x), numbered in the order frame, y, x, at the sites of a key."""
    stride = key.get_tensor_stride()[0]
    frame, column, row = voxels.manager.get_coordinates(key).long().t()
    return (frame * maps.shape[2] + row // stride) * maps.shape[3] + column // stride


def cell_coordinates(maps: Tensor, stride: int) -> Tensor:
    """Coordinates int32 (B * y * x, 3), frame first, of all cells of a map (B, C, y, x)."""
    axes = (torch.arange(n, dtype=torch.int32, device=maps.device) for n in (maps.shape[0], *maps.shape[2:]))
    frame, row, column = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([frame, column * stride, row * stride], dim=-1).flatten(0, 2)
