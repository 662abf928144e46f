"""A pretended GPU: tensors that say they are on cuda:0, and operators that refuse to mix them with others.

Most mistakes that stop a program on its first day on a GPU are tensors left on the CPU. They show without one: under
``pretended_cuda()`` tensors are moved to and made on cuda:0 in name, hold their values on the CPU, and every operator
and every function of MinkowskiEngine that gets tensors of both kinds raises. Speed and CUDA's own arithmetic are not
tested.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from mink_pd.sparse import ME

CUDA = torch.device("cuda:0")
INDEXING = ("aten::index", "aten::index_put_", "aten::_index_put_impl_")  # these take indices from the CPU


class CudaTensor(Tensor):
    """Claims to be on cuda:0; ``values`` are on the CPU."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "CudaTensor":
        same = {"strides": values.stride(), "storage_offset": values.storage_offset(), "dtype": values.dtype}
        tensor = Tensor._make_wrapper_subclass(cls, values.size(), **same)  # type: ignore[attr-defined]
        tensor.values = values.detach()
        return tensor

    device = CUDA  # type: ignore[assignment]
    is_cuda = True  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def numpy(self, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy  # type: ignore[assignment]

    def tolist(self) -> Any:
        return self.values.tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name
        everything = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        strangers = [x for x in everything if not isinstance(x, cls) and x.dim() > 0]
        if name in INDEXING and isinstance(args[0], cls):
            strangers = [x for x in strangers if not any(x is index for index in args[1])]
        if strangers and name != "aten::copy_":
            raise RuntimeError(f"{name}: expected all tensors on cuda:0, {list(strangers[0].shape)} is on the CPU")
        result = function(*tree_map(_values, args), **tree_map(_values, kwargs or {}))
        in_place = name.endswith("_") and not name.endswith("__")
        return args[0] if in_place else tree_map(_claim, result)


def _values(x: Any) -> Any:
    return x.values if isinstance(x, CudaTensor) else x


def _claim(x: Any) -> Any:
    return CudaTensor(x) if isinstance(x, Tensor) and not isinstance(x, CudaTensor) else x


class _Move(torch.autograd.Function):
    """From one kind to the other; the gradient goes back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.values.clone() if isinstance(x, CudaTensor) else CudaTensor(x.detach().clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Move.apply(gradients[0])


class _Mode(TorchFunctionMode):
    """Catches what names a device: ``to``, ``cpu``, and functions that make tensors."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        if name in ("to", "cpu"):
            x, *rest = args
            device = "cpu" if name == "cpu" else kwargs.pop("device", None)
            if rest and isinstance(rest[0], str | torch.device):
                device = rest.pop(0)
            elif rest and isinstance(rest[0], Tensor):
                device, rest = rest[0].device, [rest[0].dtype]
            if device is not None and _is_cuda(device) != isinstance(x, CudaTensor):
                x = _Move.apply(x)
            kinds = [kind for kind in (*rest, kwargs.get("dtype")) if isinstance(kind, torch.dtype)]
            return function(x, kinds[0]) if kinds and name == "to" else x
        if name == "embedding_bag":  # its Python part makes a tensor on the device, out of this mode's sight
            rows, table = args
            begins = torch.arange(0, rows.numel(), rows.shape[1])
            begins = CudaTensor(begins) if isinstance(rows, CudaTensor) else begins
            kwargs["per_sample_weights"] = kwargs["per_sample_weights"].flatten()
            return function(rows.flatten(), table, **kwargs | {"offsets": begins})
        if name == "new_tensor":
            return CudaTensor(torch.tensor(*args[1:], **kwargs)) if isinstance(args[0], CudaTensor) else function(*args)
        if kwargs.get("device") is not None and _is_cuda(kwargs.pop("device")):
            return _claim(function(*args, **kwargs))
        return function(*args, **kwargs)


def _is_cuda(device: Any) -> bool:
    return torch.device(device).type == "cuda"


@contextmanager
def pretended_cuda() -> Iterator[None]:
    """MinkowskiEngine's functions and coordinate managers take the pretended tensors as well, and nothing else."""
    manager, convolutions = ME.CoordinateManager, sys.modules[ME.MinkowskiConvolution.__module__]
    create, functions = manager.__init__, convolutions.get_minkowski_function  # type: ignore[attr-defined]

    def on_cuda(self: Any, *args: Any, coordinate_map_type: Any = None, **kwargs: Any) -> None:
        assert coordinate_map_type == ME.CoordinateMapType.CUDA
        create(self, *args, coordinate_map_type=ME.CoordinateMapType.CPU, **kwargs)

    with pytest.MonkeyPatch.context() as patch, _Mode():
        patch.setattr(torch.__future__, "get_swap_module_params_on_conversion", lambda: True)
        patch.setattr(manager, "__init__", on_cuda)
        for name in ("insert_and_map", "get_coordinates"):
            patch.setattr(manager, name, _only_cuda(getattr(manager, name)))
        patch.setattr(convolutions, "get_minkowski_function", lambda name, x: _only_cuda(functions(name, _values(x))))
        yield


def _only_cuda(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of MinkowskiEngine for tensors on cuda:0."""

    def call(*args: Any) -> Any:
        assert all(isinstance(x, CudaTensor) for x in args if isinstance(x, Tensor) and x.numel()), args
        return tree_map(_claim, function(*tree_map(_values, args)))

    return call
