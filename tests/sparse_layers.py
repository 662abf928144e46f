"""Sparse tensors at random sites, and our layers beside MinkowskiEngine's with the same parameters."""

from typing import Any

import torch
from torch import Tensor

from mink_pd.sparse import ME
from mink_pd.sparse.conv import GenerativeConvTranspose, SparseConv

PEERS = {
    SparseConv: ME.MinkowskiConvolution,
    GenerativeConvTranspose: ME.MinkowskiGenerativeConvolutionTranspose,
}


def coordinates(dimension: int, sites: int = 300, stride: int = 1, seed: int = 0) -> Tensor:
    """Random unique int32 (M, 1 + D) of frames 0 and 2 (1 is empty), about half of a box around the origin taken."""
    random = torch.Generator().manual_seed(seed)
    reach = round((2 * sites / 2) ** (1 / dimension) / 2) + 1
    places = torch.randint(-reach, reach, (sites, dimension), generator=random) * stride
    frame = torch.randint(0, 2, (sites, 1), generator=random) * 2
    return torch.unique(torch.cat([frame, places], dim=1), dim=0).int()


def sparse(coordinates: Tensor, channels: int, stride: int = 1) -> "ME.SparseTensor":
    """Random features on new coordinates."""
    dimension = coordinates.shape[1] - 1
    manager = ME.CoordinateManager(D=dimension, coordinate_map_type=ME.CoordinateMapType.CPU)
    key, _ = manager.insert_and_map(coordinates, [stride] * dimension, "")
    features = torch.randn(len(coordinates), channels, generator=torch.Generator().manual_seed(1))
    return on(features.requires_grad_(), key, manager)


def on(features: Tensor, key: Any, manager: Any) -> "ME.SparseTensor":
    return ME.SparseTensor(features, coordinate_map_key=key, coordinate_manager=manager)


def ours_and_peer(kind: type, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    ours, peer = kind(*args, **kwargs), PEERS[kind](*args, **kwargs)
    assert ours.state_dict().keys() == peer.state_dict().keys()
    peer.load_state_dict(ours.state_dict())
    return ours, peer


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * max(1.0, float(b.abs().max())))


def values_and_gradients(layer: Any, x: "ME.SparseTensor", key: Any) -> tuple[Tensor, ...]:
    """Output, and gradients of the input and of every parameter, for a fixed random gradient of the output."""
    y = layer(x, key).F
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(2))
    return (y.detach(), *torch.autograd.grad(y, [x.F, *layer.parameters()], gradient))
