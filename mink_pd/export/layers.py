"""Convolution blocks of a detector as ordinary dense layers with batch norm folded in."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mink_pd.models.layers.maps import DenseBlock
from mink_pd.sparse import ConvBlock
from mink_pd.sparse.norm import BatchNorm


def folded(block: nn.Module) -> nn.Sequential:
    """A two-dimensional block in evaluation mode as a convolution with bias, then ReLU."""
    assert isinstance(block, ConvBlock | DenseBlock)
    layer: Any = block.convolution
    transposed = layer.is_transpose if isinstance(block, ConvBlock) else isinstance(layer, nn.ConvTranspose2d)
    weight = _dense_weight(layer, transposed) if isinstance(block, ConvBlock) else layer.weight
    stride = layer.kernel_generator.kernel_stride[0] if isinstance(block, ConvBlock) else layer.stride[0]
    return nn.Sequential(_convolution(weight.detach(), block.norm, stride, transposed), nn.ReLU())


def linear_map(layer: nn.Linear) -> nn.Conv2d:
    """A linear map on each cell of a map (1, C, y, x), as a 1 x 1 convolution."""
    result = nn.Conv2d(layer.in_features, layer.out_features, 1)
    with torch.no_grad():
        result.weight.copy_(layer.weight[:, :, None, None])
        result.bias.copy_(layer.bias)  # type: ignore[union-attr]
    return result


def output_map(layer: Any) -> nn.Conv2d:
    """A dense copy of a convolution with bias and kernel 3, sparse or dense, without a norm or activation."""
    result = nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)
    with torch.no_grad():
        result.weight.copy_(layer.weight if isinstance(layer, nn.Conv2d) else _dense_weight(layer, transposed=False))
        result.bias.copy_(layer.bias.view(-1))  # type: ignore[union-attr]
    return result


def folded_linear(layer: nn.Linear, norm: BatchNorm) -> nn.Linear:
    """A linear map without bias and its batch norm, folded into one linear map."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # (C,)
    result = nn.Linear(layer.in_features, layer.out_features)
    with torch.no_grad():
        result.weight.copy_(layer.weight * scale[:, None])
        result.bias.copy_(norm.bias - norm.running_mean * scale)
    return result


def _dense_weight(layer: Any, transposed: bool) -> Tensor:
    """The weight of a sparse layer as (C_out, C_in, y, x), or (C_in, C_out, y, x) for a transposed layer."""
    kernel, edge = layer.kernel, layer.kernel_generator.kernel_size[0]
    cells = kernel.view(edge, edge, layer.in_channels, layer.out_channels)  # x runs fastest
    return cells.permute(2, 3, 0, 1) if transposed else cells.permute(3, 2, 0, 1)


def _convolution(weight: Tensor, norm: BatchNorm, stride: int, transposed: bool) -> nn.Conv2d | nn.ConvTranspose2d:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    statistics = norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    weight, bias = fuse_conv_bn_weights(weight, None, *statistics, transpose=transposed)
    edge = weight.shape[-1]
    result: nn.Conv2d | nn.ConvTranspose2d
    if transposed:
        result = nn.ConvTranspose2d(weight.shape[0], weight.shape[1], edge, stride)
    else:
        result = nn.Conv2d(weight.shape[1], weight.shape[0], edge, stride, padding=edge // 2 if edge % 2 else 0)
    with torch.no_grad():
        result.weight.copy_(weight)
        result.bias.copy_(bias)  # type: ignore[union-attr]
    return result
