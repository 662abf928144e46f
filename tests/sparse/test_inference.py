"""What inference adds to the convolution: norm and ReLU folded into it, and half precision."""

from typing import Any

import pytest
import torch
from sparse_layers import close, coordinates, on, ours_and_peer, sparse, values_and_gradients

from mink_pd.sparse import ME
from mink_pd.sparse.conv import Epilogue, GenerativeConvTranspose, SparseConv
from mink_pd.sparse.layers import EPSILON, ConvBlock

pytestmark = pytest.mark.usefixtures("compiled")


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


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("channels", [5, 16, 40])
def test_a_block_writes_its_result_into_wider_rows(channels: int, native: bool, monkeypatch: Any) -> None:
    if not native:
        monkeypatch.setattr("mink_pd.sparse.conv.operators", lambda: None)
    x, block = sparse(coordinates(2), 9), ConvBlock(9, channels).eval()
    with torch.no_grad():
        wanted = block(x)
        wide = torch.full((len(wanted.F), channels + 7), 3.0)
        written = block(x, None, wide[:, 4 : 4 + channels])
    assert torch.equal(written.F, wanted.F)
    assert torch.equal(wide[:, 4 : 4 + channels], wanted.F)
    assert (wide[:, :4] == 3).all()
    assert (wide[:, 4 + channels :] == 3).all()


@pytest.mark.parametrize("layer", [SparseConv, GenerativeConvTranspose])
def test_large_results_are_those_of_minkowskiengine(layer: type) -> None:
    """They are written past the caches."""
    ours, peer = ours_and_peer(layer, 4, 64, kernel_size=3 if layer is SparseConv else 2, dimension=2,
                               stride=1 if layer is SparseConv else 2)  # fmt: skip
    x = sparse(coordinates(2, 30000) * 2, 4, stride=2)
    wanted = peer(x)
    for part in (slice(0, 64), slice(16, 80), slice(1, 65)):  # the last is not aligned
        wide = torch.full((len(wanted.F), 96), 3.0)
        epilogue = Epilogue(torch.linspace(0.5, 2, 64), torch.linspace(-1, 1, 64))
        with torch.no_grad():
            y = ours(x, wanted.coordinate_map_key, epilogue, wide[:, part])
        assert y.F.numel() > 2**20
        close(y.F, epilogue(wanted.F.detach()))
        assert (wide[:, : part.start] == 3).all()
        assert (wide[:, part.stop :] == 3).all()
    close(ours(x, wanted.coordinate_map_key).F, wanted.F.detach())


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
        pytest.skip("this processor has no bfloat16 instructions")
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
