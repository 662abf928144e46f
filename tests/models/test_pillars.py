"""The folded pillar features against linear map, norm and maximum one after the other."""

import copy

import numpy as np
import pytest
import torch

from mink_pd.models.layers.pillars import PillarFeatureNet, _moments
from mink_pd.sparse import Voxels, segment_max, voxelise

BOUNDS = (0.0, -20.0, -3.0, 40.0, 20.0, 1.0)


def pillars(points: int) -> Voxels:
    random = np.random.default_rng(0)
    xyz = random.normal([30, -5, -1], [3, 3, 0.5], (points, 3))  # far off the origin: squares about zero would cancel
    cloud = torch.from_numpy(np.hstack([xyz, random.random((points, 1))]).astype(np.float32))
    return voxelise(cloud, torch.arange(points) % 2, 2, (0.5, 0.5, 4.0), BOUNDS, 2)


def plain(net: PillarFeatureNet, voxels: Voxels) -> torch.Tensor:
    """The definition, in float64 on the same description of the points."""
    each = net.describe(voxels).double() @ net.linear.weight.T
    return segment_max(net.norm(each).relu(), voxels.rows, len(voxels))


def plain_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("mink_pd.sparse.pooling", "mink_pd.models.layers.pillars"):
        monkeypatch.setattr(f"{module}.operators", lambda: None)


@pytest.mark.parametrize(
    "options", [{}, {"intensity": False}, {"centre_height": False}, {"point_features": 3}], ids=str
)
def test_the_compiled_description_has_the_bits_of_torch(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    net, voxels = PillarFeatureNet(12, height=-1.0, **options), pillars(4000)
    ours = net.describe(voxels)
    plain_paths(monkeypatch)
    voxels.derived.clear()
    assert torch.equal(ours, net.describe(voxels))


@pytest.mark.parametrize("rows", [0, 1, 2, 255, 5000])
@pytest.mark.parametrize("features", [1, 10, 16, 37])
@pytest.mark.parametrize("native", [True, False])
def test_moments_are_those_of_float64(rows: int, features: int, native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        plain_paths(monkeypatch)
    torch.manual_seed(rows)
    x = 40 + torch.randn(rows, features) @ torch.randn(features, features)  # far off 0: squares about it would cancel
    count, mean, covariance = _moments(x, synchronised=False)
    exact = x.double()
    assert float(count) == rows
    wanted = exact.sum(dim=0) / max(rows, 1)
    torch.testing.assert_close(mean, wanted, rtol=1e-7, atol=1e-7)
    centred = exact - wanted
    scale = max(1.0, float(centred.square().mean())) if rows else 1.0
    torch.testing.assert_close(covariance, centred.T @ centred / max(rows, 1), rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize("native", [True, False])
def test_training_and_inference_agree_with_the_plain_layers(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        plain_paths(monkeypatch)
    voxels = pillars(4000)
    ours = PillarFeatureNet(12, height=-1.0)
    torch.nn.init.normal_(ours.norm.weight)  # of both signs
    torch.nn.init.normal_(ours.norm.bias)
    theirs = copy.deepcopy(ours).double()
    weight = torch.randn(len(voxels), 12)
    for _ in range(3):  # the running statistics move every time
        y, wanted = ours(voxels), plain(theirs, voxels)
        torch.testing.assert_close(y.double(), wanted, rtol=1e-4, atol=2e-5)
        (y * weight).sum().backward()
        (wanted * weight).sum().backward()
    for (name, parameter), (_, exact) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        scale = exact.grad.abs().max()
        assert (parameter.grad - exact.grad).abs().max() < 1e-4 * scale, name
    for (name, buffer), (_, exact) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        torch.testing.assert_close(buffer.double(), exact.double(), rtol=1e-5, atol=1e-6, msg=name)
    ours.eval(), theirs.eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(voxels).double(), plain(theirs, voxels), rtol=1e-4, atol=2e-5)


def outputs_and_gradients(net: PillarFeatureNet, voxels: Voxels, threads: int) -> list[torch.Tensor]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        net.zero_grad()
        y = net(voxels)
        y.square().sum().backward()
        return [y.detach(), *(p.grad.clone() for p in net.parameters())]
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("compiled")
def test_the_same_bits_for_any_number_of_threads() -> None:
    voxels, net = pillars(9000), PillarFeatureNet(16, height=-1.0).eval()
    first, *others = [outputs_and_gradients(net, voxels, threads) for threads in (1, 2, 2, 4)]
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_training_gives_nearly_the_same_for_any_number_of_threads() -> None:
    """Not the same bits: without AVX-512, MKL cuts the sums of the moments by the number of threads."""
    voxels, net = pillars(9000), PillarFeatureNet(16, height=-1.0)
    first, *others = [outputs_and_gradients(net, voxels, threads) for threads in (1, 2, 4)]
    for other in others:
        for a, b in zip(first, other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(a.abs().max()))
