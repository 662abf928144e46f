"""Our sparse convolutions against MinkowskiEngine's layers and against dense convolutions of torch."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mink_pd.sparse import ME, kernel_map, native
from mink_pd.sparse.conv import Epilogue, GenerativeConvTranspose, SparseConv, SparseConvTranspose
from mink_pd.sparse.layers import EPSILON, ConvBlock

PEERS = {
    SparseConv: ME.MinkowskiConvolution,
    SparseConvTranspose: ME.MinkowskiConvolutionTranspose,
    GenerativeConvTranspose: ME.MinkowskiGenerativeConvolutionTranspose,
}
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
    (SparseConvTranspose, {"kernel_size": 3}),
    (SparseConvTranspose, {"kernel_size": 2, "stride": 2}),
    (SparseConvTranspose, {"kernel_size": 3, "stride": 2, "bias": True}),
    (GenerativeConvTranspose, {"kernel_size": 3, "stride": 2}),
    (GenerativeConvTranspose, {"kernel_size": 4, "stride": 4}),
]


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


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    if native.library() is None:
        pytest.skip("the compiled convolution is not available here")


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
    (SparseConvTranspose, {"kernel_size": 3, "stride": 2}),
]


@pytest.mark.parametrize(("kind", "options"), GROWING, ids=str)
def test_makes_the_sites_that_minkowski_makes(kind: type, options: dict) -> None:
    x, y = (sparse(coordinates(3, stride=4), 3, stride=4) for _ in range(2))
    ours, peer = ours_and_peer(kind, 3, 4, **options, dimension=3)
    for call in range(2):
        a, b = ours(x), peer(y)
        assert a.tensor_stride == b.tensor_stride
        assert {tuple(row) for row in a.C.tolist()} == {tuple(row) for row in b.C.tolist()}
        names = [key.get_key()[1] for key in (a.coordinate_map_key, b.coordinate_map_key)]
        # an empty name for the first map of a stride; grown maps are fresh at every call, as design.md says
        assert (names[0] == "") == (names[1] == "")
        assert (a.coordinate_map_key == ours(x).coordinate_map_key) == (kind is SparseConvTranspose)
        assert call == 0 or names[0] == "" or kind is not SparseConvTranspose


def test_refuses_strides_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="no multiple"):
        SparseConvTranspose(3, 4, 2, 2, dimension=2)(sparse(coordinates(2), 3))


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


def test_pairs_are_those_of_minkowski() -> None:
    x = sparse(coordinates(3), 1)
    manager, fine = x.coordinate_manager, x.coordinate_map_key
    coarse = manager.stride(fine, 2)
    expected = manager.kernel_map(fine, coarse, 2, 3)
    pairs = kernel_map.kernel_map(native.library(), manager, fine, coarse, [3] * 3, [1] * 3).to_coarse
    for k in range(27):
        rows = slice(int(pairs.table[0, k]), int(pairs.table[-1, k]))
        mine = torch.stack([pairs.source[rows], pairs.target[rows]])
        theirs = expected.get(k, torch.empty(2, 0, dtype=torch.int32))
        assert torch.equal(mine, theirs[:, theirs[1].argsort()])  # ours is sorted by target, theirs by chance


@pytest.mark.parametrize("span", [6, 150, 10**6])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize(("edge", "step"), [(3, 1), (3, 4), (2, 1)])
def test_pairs_against_a_loop(edge: int, step: int, shuffled: bool, span: int) -> None:
    """Lines within a block of cells and across several, rows in and out of order, one map and two."""
    random = torch.Generator().manual_seed(0)
    sets = []
    for _ in range(2):
        near = torch.randint(-6, 6, (150, 3), generator=random) * torch.tensor([1, 1, max(1, span // 6)])
        near = near + torch.randint(-2, 3, near.shape, generator=random)
        rows = torch.unique(torch.cat([torch.randint(0, 2, (150, 1), generator=random), near * step], dim=1), dim=0)
        sets.append(rows[torch.randperm(len(rows), generator=random)].int() if shuffled else rows.int())
    offsets = kernel_map.kernel_offsets([edge] * 3, [1] * 3, [step] * 3)
    operators = native.library()
    for fine, coarse in ((sets[0], sets[0]), sets):
        row_of = {tuple(site): row for row, site in enumerate(fine.tolist())}
        wanted, tiles = [], []
        for offset in offsets.tolist():
            places = [(b, *map(sum, zip(site, offset, strict=True))) for b, *site in coarse.tolist()]
            tiles.append([len(wanted) + sum(p in row_of for p in places[:end]) for end in range(0, len(places), 32)])
            wanted += [(row_of[place], target) for target, place in enumerate(places) if place in row_of]
            tiles[-1].append(len(wanted))
        source, target, table = operators.neighbours(fine, coarse, offsets)
        assert list(zip(source.tolist(), target.tolist(), strict=True)) == wanted
        assert table.t().tolist() == tiles
        back, forth, inverse = operators.inverse(source, target, table, len(fine))
        for k in range(len(offsets)):
            part = slice(int(inverse[0, k]), int(inverse[-1, k]))
            pairs = list(zip(forth[part].tolist(), back[part].tolist(), strict=True))
            assert pairs == sorted(wanted[int(table[0, k]) : int(table[-1, k])])


def test_refuses_coordinates_that_come_twice() -> None:
    rows = coordinates(2).repeat(2, 1)
    with pytest.raises(RuntimeError, match="unique"):
        native.library().neighbours(rows, rows, kernel_map.kernel_offsets([3, 3], [1, 1], [1, 1]))


def test_rows_in_any_order() -> None:
    shuffled = coordinates(3, 600)
    x = sparse(shuffled[torch.randperm(len(shuffled), generator=torch.Generator().manual_seed(3))], 6)
    for options in ({"kernel_size": 3}, {"kernel_size": 3, "stride": 2}):
        ours, peer = ours_and_peer(SparseConv, 6, 20, **options, dimension=3)
        for a, b in zip(*(values_and_gradients(layer, x, None) for layer in (ours, peer)), strict=True):
            close(a, b)


def test_layers_on_one_manager_share_keys_and_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    build = kernel_map.KernelMap.__init__
    monkeypatch.setattr(kernel_map.KernelMap, "__init__", lambda *args: (built.append(args), build(*args))[1])
    x = sparse(coordinates(2), 4)
    teacher, student = SparseConv(4, 8, 3, 2, dimension=2), SparseConv(4, 2, 3, 2, dimension=2)
    a, b = teacher(x), student(x)
    assert a.coordinate_map_key == b.coordinate_map_key
    assert len(built) == 1
    back = SparseConvTranspose(8, 4, 3, 2, dimension=2)(a, x.coordinate_map_key)  # the same map the other way
    back.F.sum().backward()
    assert len(built) == 1
    SparseConv(4, 4, 3, dimension=2)(x)
    assert len(built) == 2


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


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])  # 1 is a matrix product of MinkowskiEngine's own
def test_epilogue_equals_separate_steps(kernel: int, bias: bool) -> None:
    x = sparse(coordinates(2), 9)
    layer = SparseConv(9, 21, kernel, dimension=2, bias=bias)
    scale, shift = torch.randn(21), torch.randn(21)
    with torch.no_grad():
        y = layer(x).F * scale + shift
        close(layer(x, epilogue=Epilogue(scale, shift)).F, y.relu())
        close(layer(x, epilogue=Epilogue(scale, shift, relu=False)).F, y)


def test_block_folds_the_norm_at_inference_only() -> None:
    x = sparse(coordinates(2), 9)
    block = ConvBlock(9, 12, stride=2)
    for _ in range(3):
        block(x)  # moves the running statistics
    block.norm.weight.data.uniform_(0.5, 2)
    block.norm.bias.data.normal_()
    block.eval()
    separate = block(x)
    assert separate.F.requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            folded = block(x)
        assert folded.coordinate_map_key == separate.coordinate_map_key
        close(folded.F, separate.F.detach())
    block.train()
    before = block.norm.running_mean.clone()
    with torch.no_grad():
        block(x)
    assert not torch.equal(before, block.norm.running_mean)


@pytest.mark.parametrize("fused", [True, False])
def test_a_fold_ends_with_the_next_training_step(fused: bool) -> None:
    x, block = sparse(coordinates(2), 9), ConvBlock(9, 12)
    optimiser = torch.optim.AdamW(block.parameters(), lr=0.1, fused=fused)
    for _ in range(2):
        block.train()(x).F.square().sum().backward()
        optimiser.step()
        block.eval()
        with torch.no_grad():
            folded = block(x)
        close(folded.F, block(x).F.detach())


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


@pytest.mark.parametrize("native_path", [True, False])
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_features_are_convolved_in_single(
    half: torch.dtype, native_path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a linear layer leaves them under autocast; MinkowskiEngine's layer refuses them."""
    if not native_path:
        monkeypatch.setattr("mink_pd.sparse.conv.operators", lambda: None)
    x = sparse(coordinates(2), 3)
    ours, peer = ours_and_peer(SparseConv, 3, 4, kernel_size=3, stride=2, dimension=2)
    halved = on(x.F.detach().to(half).requires_grad_(), x.coordinate_map_key, x.coordinate_manager)
    rounded = on(halved.F.detach().float().requires_grad_(), x.coordinate_map_key, x.coordinate_manager)
    with torch.autocast("cpu", half):
        value, of_x, of_kernel = values_and_gradients(ours, halved, None)
    wanted = values_and_gradients(peer, rounded, None)
    close(value, wanted[0])
    assert of_x.dtype == half
    close(of_x, wanted[1].to(half))
    close(of_kernel, wanted[2])


@pytest.mark.parametrize("options", [{"kernel": 3}, {"kernel": 3, "stride": 2}, {"kernel": 1, "stride": 2}], ids=str)
@pytest.mark.parametrize("channels", [(1, 1), (5, 7), (10, 32), (16, 16), (17, 33), (64, 48), (70, 130)], ids=str)
def test_inference_in_bfloat16_is_that_of_rounded_operands(channels: tuple[int, int], options: dict) -> None:
    """By MinkowskiEngine's layer in float64 on features and weights that torch rounds."""
    if not torch.ops.mink_pd.multiplies_bf16():
        pytest.skip("this processor multiplies no bfloat16")
    torch.manual_seed(0)
    block = ConvBlock(*channels, **options, dimension=3).eval()
    x = sparse(coordinates(3, 1000), channels[0])
    with torch.no_grad():
        y = block(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = block(x)
    kernel, stride = (options.get(key, 1) for key in ("kernel", "stride"))
    peer: Any = ME.MinkowskiConvolution(*channels, kernel, stride, dimension=3).double()
    peer.kernel.data = block.convolution.kernel.detach().bfloat16().double()
    values = x.F.detach().bfloat16().double()
    wanted = peer(on(values, x.coordinate_map_key, x.coordinate_manager), y.coordinate_map_key).F
    wanted = (wanted / (1 + EPSILON) ** 0.5).relu()  # running mean 0, variance 1
    close(rounded.F, wanted.detach().float())
    assert channels == (1, 1) or not torch.equal(rounded.F, y.F)


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
