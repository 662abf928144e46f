"""Sparse convolutions with MinkowskiEngine's parameters, coordinate maps and results, and a fast path on the CPU.

Out coordinates come from MinkowskiEngine's own coordinate manager. The arithmetic (Choy et al., CVPR 2019, eq. 3) runs
in compiled code on kernel maps that all layers on one manager share; see ``csrc/core/convolution.cpp``. Other devices
and types, kernels that are not cubes, and machines without a compiler take MinkowskiEngine's path.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mink_pd.native.operators import operators
from mink_pd.sparse.kernel_map import KernelMap, PairList, kernel_map, kernel_offsets
from mink_pd.sparse.minkowski import ME, make_sparse
from mink_pd.sparse.sites import grown_sites, strided_sites

Sites = Any  # ME.CoordinateMapKey, ME.SparseTensor or Tensor, which have no types: what ME's layers take


@dataclass(frozen=True)
class Epilogue:
    """What follows a convolution at inference: x * scale + shift by channel (C,), then the positive part."""

    scale: Tensor
    shift: Tensor
    relu: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        x = torch.addcmul(self.shift, x, self.scale)
        return x.relu_() if self.relu else x


class _Convolution:
    """The fast path, put in front of a layer of MinkowskiEngine."""

    def forward(
        self,
        input: "ME.SparseTensor",
        coordinates: Sites | None = None,
        epilogue: Epilogue | None = None,
        into: Tensor | None = None,
    ) -> "ME.SparseTensor":
        """Convolve onto the sites that the layer makes itself, or onto given ones.

        ``epilogue`` is applied to the result; it is for inference and has no gradient on the fast path. With it, and
        under torch's autocast to bfloat16 on a processor that multiplies it (``csrc/core/bf16.h``), features and
        weights are rounded to bfloat16; sums are float32. ``into`` (M, C), a part of wider rows, then takes the
        result's features.
        """
        layer: Any = self
        if input.F.dtype != layer.kernel.dtype:  # under autocast; neither path takes half precision
            input = make_sparse(input.F.to(layer.kernel.dtype), input.coordinate_map_key, input.coordinate_manager)
        compiled = operators() if self._is_fast(input, coordinates) else None
        if compiled is None:
            result = super().forward(input, coordinates)  # type: ignore[misc]
            if epilogue is None:
                return result
            features = epilogue(result.F) if into is None else into.copy_(epilogue(result.F))
            return make_sparse(features, result.coordinate_map_key, input.coordinate_manager)
        key = self._output_key(compiled, input, coordinates)
        maps = self._maps(compiled, input, key)
        if epilogue is None:
            features = _Products.apply(input.F, layer.kernel, maps, layer.is_transpose, compiled)
            features = features if layer.bias is None else features + layer.bias
        else:
            pairs = _pairs(maps, layer.is_transpose)
            features = _inference(input.F, layer.kernel, layer.bias, pairs, epilogue, compiled, into)
        return make_sparse(features, key, input.coordinate_manager)

    def _maps(self, compiled: Any, input: "ME.SparseTensor", key: "ME.CoordinateMapKey") -> KernelMap:
        """The kernel map between the input and the output."""
        layer: Any = self
        generator, ends = layer.kernel_generator, (input.coordinate_map_key, key)
        fine, coarse = reversed(ends) if layer.is_transpose else ends
        return kernel_map(
            compiled, input.coordinate_manager, fine, coarse, generator.kernel_size, generator.kernel_dilation
        )

    def _is_fast(self, input: "ME.SparseTensor", coordinates: Sites | None) -> bool:
        layer: Any = self
        return (
            not layer.use_mm  # a kernel of one offset on the same sites is a matrix product
            and not isinstance(coordinates, Tensor)  # new coordinates, which MinkowskiEngine inserts
            and layer.kernel_generator.region_type == ME.RegionType.HYPER_CUBE
            and all(x.device.type == "cpu" and x.dtype == torch.float32 for x in (input.F, layer.kernel))
        )

    def _output_key(self, operators: Any, input: "ME.SparseTensor", coordinates: Sites | None) -> "ME.CoordinateMapKey":
        """The key that MinkowskiEngine's layer gives its output, made if need be."""
        layer: Any = self
        generator, manager = layer.kernel_generator, input.coordinate_manager
        if isinstance(coordinates, ME.SparseTensor):
            return coordinates.coordinate_map_key
        if coordinates is not None and coordinates.is_key_set():
            return coordinates
        if not layer.is_transpose and not generator.expand_coordinates:
            return strided_sites(manager, input.coordinate_map_key, generator.kernel_stride)
        stride = goal = input.coordinate_map_key.get_tensor_stride()
        if layer.is_transpose:
            if any(old % step for old, step in zip(stride, generator.kernel_stride, strict=True)):
                raise ValueError(f"tensor stride {stride} is no multiple of the stride {generator.kernel_stride}")
            stride = goal = [old // step for old, step in zip(stride, generator.kernel_stride, strict=True)]
        else:
            goal = [old * step for old, step in zip(stride, generator.kernel_stride, strict=True)]
        offsets = kernel_offsets(generator.kernel_size, generator.kernel_dilation, stride)
        fresh = generator.expand_coordinates
        return grown_sites(operators, manager, input.coordinate_map_key, offsets, goal, fresh)


class SparseConv(_Convolution, ME.MinkowskiConvolution):
    """Drop-in for ``MinkowskiConvolution``: same arguments, parameters, coordinate maps and results."""


class GenerativeConvTranspose(_Convolution, ME.MinkowskiGenerativeConvolutionTranspose):
    """Drop-in for ``MinkowskiGenerativeConvolutionTranspose``."""


class _Products(torch.autograd.Function):
    """y[target] = sum over offsets k of x[source] W_k, with gradients for x (M, C_in) and W (K, C_in, C_out)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, maps: KernelMap, transposed: bool, operators: Any) -> Tensor:
        x, weights = x.contiguous(), weights.contiguous()
        ctx.save_for_backward(x, weights)
        ctx.maps, ctx.transposed, ctx.operators = maps, transposed, operators
        return _products(x, weights, _pairs(maps, transposed), operators)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weights = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        of_x = of_weights = None
        if ctx.needs_input_grad[0]:
            back = _pairs(ctx.maps, not ctx.transposed)
            of_x = _products(gradient, weights, back, ctx.operators, transpose_weights=True)
        if ctx.needs_input_grad[1]:
            pairs = ctx.maps.to_coarse
            ends = (pairs.target, pairs.source) if ctx.transposed else (pairs.source, pairs.target)
            of_weights = ctx.operators.outer_products(x, gradient, *ends, pairs.table)
        return of_x, of_weights, None, None, None


def _pairs(maps: KernelMap, to_fine: bool) -> PairList:
    return maps.to_fine if to_fine else maps.to_coarse


def _products(
    x: Tensor,
    weights: Tensor,
    pairs: PairList,
    operators: Any,
    transpose_weights: bool = False,
) -> Tensor:
    return operators.products(
        x, weights, pairs.source, pairs.target, pairs.table, pairs.rows,
        transpose_weights, pairs.mirrored, None, None, False, False,
    )  # fmt: skip


@torch.no_grad()
def _inference(
    x: Tensor,
    weights: Tensor,
    bias: Tensor | None,
    pairs: PairList,
    epilogue: Epilogue,
    operators: Any,
    into: Tensor | None,
) -> Tensor:
    """Products and epilogue (M, C_out), in ``into`` if it is given."""
    scale, shift = epilogue.scale, epilogue.shift
    if bias is not None:
        shift = torch.addcmul(shift, bias.view(-1), scale)
    into = x.new_empty(pairs.rows, weights.shape[2]) if into is None else into
    rounded = _wants_bf16() and operators.multiplies_bf16()
    operators.write_products(
        x.contiguous(), weights.contiguous(), pairs.source, pairs.target, pairs.table, False,
        pairs.mirrored, scale.contiguous(), shift.contiguous(), epilogue.relu, rounded, into,
    )  # fmt: skip
    return into


def _wants_bf16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
