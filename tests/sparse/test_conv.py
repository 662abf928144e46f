"""Our sparse convolutions against MinkowskiEngine's layers and against dense convolutions of torch."""

from typing import Any

import pytest
import torch
from sparse_layers import close, coordinates, on, ours_and_peer, sparse, values_and_gradients
from torch import Tensor
from torch.nn import functional

from mink_pd.native import build as native
from mink_pd.sparse import ME
from mink_pd.sparse.conv import GenerativeConvTranspose, SparseConv

pytestmark = pytest.mark.usefixtures("compiled")

LAYERS = [
    (SparseConv, {"kernel_size": 3}),
    (SparseConv, {"kernel_size": 3, "bias": True}),
    (SparseConv, {"kernel_size": 2}),
    (SparseConv, {"kernel_size": 5}),
    (SparseConv, {"kernel_size": 3, "dilation": 2}),
    (SparseConv, {"kernel_size": 1, "stride": 2}),
    (SparseConv, {"kernel_size": 2, "stride": 2}),
    (SparseConv, {"kernel_size": 3, "stride": 2}),
    (SparseConv, {"kernel_size": 4, "stride": 2}),
    (SparseConv, {"kernel_size": 3, "stride": 2, "expand_coordinates": True}),
    (GenerativeConvTranspose, {"kernel_size": 3, "stride": 2}),
    (GenerativeConvTranspose, {"kernel_size": 4, "stride": 4}),
]


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("channels", [(1, 1), (5, 7), (10, 32), (64, 48), (70, 130)], ids=str)
@pytest.mark.parametrize(("kind", "options"), LAYERS, ids=str)
def test_equals_minkowski(kind: type, options: dict, channels: tuple[int, int], dimension: int) -> None:
    if dimension == 3 and options["kernel_size"] > 4:
        pytest.skip("slow and nothing new")
    x = sparse(coordinates(dimension, stride=4), channels[0], stride=4)
    ours, peer = ours_and_peer(kind, *channels, **options, dimension=dimension)
    y = ours(x)
    assert y.tensor_stride == peer(x).tensor_stride
    if not (options.get("expand_coordinates") or kind is GenerativeConvTranspose):
        assert y.coordinate_map_key == peer(x).coordinate_map_key
    for a, b in zip(
        values_and_gradients(ours, x, y.coordinate_map_key), values_and_gradients(peer, x, y.coordinate_map_key),
        strict=True,
    ):  # fmt: skip
        close(a, b)


GROWING = [
    (SparseConv, {"kernel_size": 3, "expand_coordinates": True}),
    (SparseConv, {"kernel_size": 3, "stride": 2, "expand_coordinates": True}),
    (SparseConv, {"kernel_size": 2, "stride": 4, "expand_coordinates": True}),
    (GenerativeConvTranspose, {"kernel_size": 2, "stride": 2}),
    (GenerativeConvTranspose, {"kernel_size": 3, "stride": 2, "dilation": 2}),
]


@pytest.mark.parametrize(("kind", "options"), GROWING, ids=str)
def test_makes_the_sites_that_minkowski_makes(kind: type, options: dict) -> None:
    x, y = (sparse(coordinates(3, stride=4), 3, stride=4) for _ in range(2))
    ours, peer = ours_and_peer(kind, 3, 4, **options, dimension=3)
    for _ in range(2):
        a, b = ours(x), peer(y)
        assert a.tensor_stride == b.tensor_stride
        assert {tuple(row) for row in a.C.tolist()} == {tuple(row) for row in b.C.tolist()}
        names = [key.get_key()[1] for key in (a.coordinate_map_key, b.coordinate_map_key)]
        # an empty name for the first map of a stride; grown maps are fresh at every call, as design.md says
        assert (names[0] == "") == (names[1] == "")
        assert a.coordinate_map_key != ours(x).coordinate_map_key


def test_refuses_strides_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="no multiple"):
        GenerativeConvTranspose(3, 4, 2, 2, dimension=2)(sparse(coordinates(2), 3))


def test_large_maps_equal_minkowski() -> None:
    """More rows than a tile, a segment and a thread's share."""
    x = sparse(coordinates(2, sites=30_000), 16)
    ours, peer = ours_and_peer(SparseConv, 16, 24, kernel_size=3, dimension=2)
    for a, b in zip(*(values_and_gradients(layer, x, None) for layer in (ours, peer)), strict=True):
        close(a, b)


def test_coordinates_on_other_sites() -> None:
    x = sparse(coordinates(2), 6)
    manager = x.coordinate_manager
    other, _ = manager.insert_and_map(coordinates(2, seed=5), [1, 1], "other")
    far, _ = manager.insert_and_map(coordinates(2, 50) + torch.tensor([0, 10**6, -(10**6)]).int(), [1, 1], "far")
    ours, peer = ours_and_peer(SparseConv, 6, 8, kernel_size=3, dimension=2)
    target = on(torch.zeros(manager.size(other), 1), other, manager)
    close(ours(x, other).F, peer(x, other).F)
    close(ours(x, target).F, peer(x, target).F)
    assert ours(x, target).coordinate_map_key == other
    assert ours(x, far).F.abs().max() == 0


def dense(x: "ME.SparseTensor", low: int, size: int) -> Tensor:
    """(frames, C, [z,] y, x): the axis that runs fastest in a kernel is the last."""
    index = x.C.long()
    grid = torch.zeros(3, *[size] * x.D, x.F.shape[1])
    grid[(index[:, 0], *(index[:, axis] - low for axis in reversed(range(1, 1 + x.D))))] = x.F.detach()
    return grid.movedim(-1, 1)


def dense_kernel(layer: Any, dimension: int) -> Tensor:
    """(K, in, out) -> (out, in, [z,] y, x)"""
    edge = layer.kernel_generator.kernel_size[0]
    weights = layer.kernel.detach()
    return weights.view(*[edge] * dimension, *weights.shape[1:]).movedim((-1, -2), (0, 1))


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize(("edge", "stride"), [(3, 1), (2, 2), (3, 2), (4, 2)])
def test_equals_dense_convolution(dimension: int, edge: int, stride: int) -> None:
    x = sparse(coordinates(dimension), 5)
    layer = SparseConv(5, 6, edge, stride, dimension=dimension)
    y = layer(x)
    low, size = -32, 64
    convolve = functional.conv2d if dimension == 2 else functional.conv3d
    before = edge // 2 if edge % 2 else 0  # odd kernels are centred, even ones start at their site
    padded = functional.pad(dense(x, low, size), [before, edge - 1 - before] * dimension)
    expected = convolve(padded, dense_kernel(layer, dimension), stride=stride)
    index = y.C.long()
    places = ((index[:, axis] - low) // stride for axis in reversed(range(1, 1 + dimension)))
    close(y.F, expected.movedim(1, -1)[(index[:, 0], *places)])


@pytest.mark.parametrize("stride", [2, 4])
def test_equals_dense_transposed_convolution(stride: int) -> None:
    x = sparse(coordinates(2, stride=stride), 5, stride=stride)
    layer = GenerativeConvTranspose(5, 6, stride, stride, dimension=2)
    y = layer(x)
    low, size = -128, 256
    grid = dense(x, low, size)[..., ::stride, ::stride]
    weights = dense_kernel(layer, 2).movedim(0, 1)  # conv_transpose2d wants (in, out, y, x)
    expected = functional.conv_transpose2d(grid, weights, stride=stride)
    index = y.C.long()
    assert len(index) == len(x.F) * stride**2
    close(y.F, expected.movedim(1, -1)[index[:, 0], index[:, 2] - low, index[:, 1] - low])


def test_rows_in_any_order() -> None:
    shuffled = coordinates(3, 600)
    x = sparse(shuffled[torch.randperm(len(shuffled), generator=torch.Generator().manual_seed(3))], 6)
    for options in ({"kernel_size": 3}, {"kernel_size": 3, "stride": 2}):
        ours, peer = ours_and_peer(SparseConv, 6, 20, **options, dimension=3)
        for a, b in zip(*(values_and_gradients(layer, x, None) for layer in (ours, peer)), strict=True):
            close(a, b)


@pytest.mark.parametrize("sites", [40, 20_000])
def test_same_bits_at_every_run_and_number_of_threads(sites: int) -> None:
    threads, results = torch.get_num_threads(), []
    layer = SparseConv(20, 24, 3, dimension=2)
    try:
        for count in (1, 1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append(values_and_gradients(layer, sparse(coordinates(2, sites), 20), None))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], result, strict=True))


def test_takes_minkowskis_path_where_ours_does_not_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    x = sparse(coordinates(2), 4)
    ours, peer = ours_and_peer(SparseConv, 4, 8, kernel_size=3, dimension=2)
    double = on(x.F.detach().double(), x.coordinate_map_key, x.coordinate_manager)
    torch.testing.assert_close(ours.double()(double).F, peer.double()(double).F)
    monkeypatch.setenv("MINK_PD_NATIVE", "0")
    native.library.cache_clear()
    try:
        assert native.library() is None
        torch.testing.assert_close(ours.float()(x).F, peer.float()(x).F)
    finally:
        native.library.cache_clear()


def test_warns_once_and_goes_on_where_nothing_compiles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capfd: pytest.CaptureFixture
) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho no such header; exit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("MINK_PD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(broken))
    native.library.cache_clear()
    try:
        assert native.library() is None
        assert native.library() is None
        warnings = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
        assert len(warnings) == 1
        log = next((tmp_path / "cache").rglob("build.log"))
        assert str(log) in warnings[0]
        assert "no such header" in log.read_text()
        layer, peer = ours_and_peer(SparseConv, 3, 4, kernel_size=3, dimension=2)
        x = sparse(coordinates(2), 3)
        assert torch.equal(layer(x).F, peer(x).F)
    finally:
        native.library.cache_clear()
