"""Layers that project before they gather, against the sentence of the paper written out."""

import pytest
import torch
from torch import Tensor, nn

from mink_pd.models.detectors.pointrcnn.fused import compiled_for
from mink_pd.models.detectors.pointrcnn.pointnet import (
    GroupedMLP,
    InterpolatedLayer,
    InterpolatedMLP,
    MLPLayer,
    by_size,
    mlp,
)
from mink_pd.models.whole import whole_work
from mink_pd.native.operators import operators
from mink_pd.points import Interpolation


def plain(layer: MLPLayer, x: Tensor) -> Tensor:
    """Linear, batch norm as torch has it, ReLU."""
    assert layer.norm is not None
    return torch.relu(layer.norm(x @ layer.weight.t()))


def grouped(net: GroupedMLP, xyz: Tensor, features: Tensor, centres: Tensor, rows: Tensor) -> Tensor:
    """The maxima over groups whose members are all written out."""
    each = torch.cat([xyz[rows] - centres[:, None], features[rows]], dim=2).flatten(0, 1)  # (G * K, 3 + C)
    for layer in (net.first, *net.rest):
        each = plain(layer, each)
    return each.view(*rows.shape, -1).amax(dim=1)


def settle(module: nn.Module) -> None:
    """Norms that do something."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d):
            for values in (norm.running_mean, norm.bias):
                nn.init.normal_(values)
            for values in (norm.running_var, norm.weight):
                nn.init.uniform_(values, 0.5, 2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gradients", [True, False])
def test_grouped_mlp(training: bool, gradients: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mink_pd.models.detectors.pointrcnn.pointnet._ROWS", 40)  # several pieces
    torch.manual_seed(0)
    net = GroupedMLP([4, 6, 8, 5]).double()
    settle(net)
    net.train(training)
    xyz, features, centres = torch.randn(50, 3).double(), torch.randn(50, 4).double(), torch.randn(20, 3).double()
    rows = torch.randint(50, (20, 6))
    for group, count in enumerate((1, 2, 3, 4, 5, 6)):  # groups that are filled up with their first row
        rows[group, count:] = rows[group, 0]
    with torch.set_grad_enabled(gradients):
        ours = net(xyz, features, centres, rows)
    torch.testing.assert_close(ours, grouped(net, xyz, features, centres, rows))


needs_compiled = pytest.mark.skipif(operators() is None, reason="no compiled library here")


@needs_compiled
@pytest.mark.parametrize("channels", [[4, 6], [1, 16, 5], [4, 6, 70, 196], [3, 130, 20, 33, 64]])
@pytest.mark.parametrize("size", [1, 7, 200])
def test_compiled_groups(channels: list[int], size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of all sizes up to one that is longer than a tile, through channels that do not fill vectors or panels."""
    torch.manual_seed(0)
    net = GroupedMLP(channels)
    settle(net)
    net.eval()
    xyz, features, centres = torch.randn(90, 3), torch.randn(90, channels[0]), torch.randn(31, 3)
    rows = torch.randint(90, (31, size))
    for group in range(30):
        rows[group, group * size // 30 + 1 :] = rows[group, 0]
    with torch.inference_mode():
        monkeypatch.setattr(net.first, "forward", None)  # the compiled path does not call it
        ours = net(xyz, features, centres, rows)
    torch.testing.assert_close(ours, grouped(net, xyz, features, centres, rows), rtol=1e-4, atol=1e-4)


@needs_compiled
@pytest.mark.parametrize("rows", [0, 1, 23, 500])
@pytest.mark.parametrize("norm", [True, False])
def test_compiled_rows(rows: int, norm: bool) -> None:
    torch.manual_seed(0)
    net = mlp([5, 70, 33, 129], norm=norm)
    settle(net)
    net.eval()
    x = torch.randn(rows, 5)
    with torch.inference_mode():
        ours = net(x)
    each = x
    for layer in net:
        assert isinstance(layer, MLPLayer)
        each = plain(layer, each) if norm else torch.relu(each @ layer.weight.t() + layer.bias)
    torch.testing.assert_close(ours, each, rtol=1e-4, atol=1e-4)


@needs_compiled
def test_compiled_interpolation() -> None:
    torch.manual_seed(0)
    net = InterpolatedMLP(6, 3, [40, 9])
    settle(net)
    net.eval()
    coarse, skip = torch.randn(9, 6), torch.randn(300, 3)
    nearest, weights = torch.randint(9, (300, 3)), torch.rand(300, 3)
    with torch.inference_mode():
        ours = net(coarse, skip, Interpolation(nearest, weights))
    each = torch.cat([(coarse[nearest] * weights[..., None]).sum(dim=1), skip], dim=1)
    for layer in (net.first, *net.rest):
        each = plain(layer, each)
    torch.testing.assert_close(ours, each, rtol=1e-4, atol=1e-4)


@needs_compiled
def test_not_a_number_stays_one() -> None:
    """A network that went wrong must not look like one that sees nothing."""
    torch.manual_seed(0)
    net = GroupedMLP([1, 8, 8]).eval()
    features = torch.zeros(6, 1)
    features[3] = torch.nan
    rows = torch.tensor([[0, 1, 2], [2, 3, 4], [3, 4, 5], [4, 5, 3]])
    with torch.inference_mode():
        found = net(torch.randn(6, 3), features, torch.zeros(4, 3), rows)
        assert found.isnan().any(dim=1).tolist() == [False, True, True, True]
        assert mlp([1, 8]).eval()(features).isnan().any(dim=1).tolist() == [False, False, False, True, False, False]


def test_training_and_gradients_take_layers_one_by_one() -> None:
    torch.manual_seed(0)
    net = mlp([5, 7, 6])
    x = torch.randn(40, 5)
    with torch.no_grad():
        assert compiled_for(x, net) is None  # batch statistics
        before = net[0].norm.running_mean.clone()  # type: ignore[union-attr, operator]
        net(x)
        assert not torch.equal(net[0].norm.running_mean, before)  # type: ignore[union-attr, arg-type]
    net.eval()
    assert compiled_for(x, net) is None
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    with torch.no_grad():
        assert compiled_for(x.double(), net) is None
        assert (compiled_for(x, net) is None) == (operators() is None)
        with torch.autocast("cpu", torch.bfloat16):
            assert compiled_for(x, net) is None
        with whole_work():
            assert compiled_for(x, net) is None


def test_groups_by_size_hold_all_rows_of_their_groups() -> None:
    rows = torch.tensor([[4, 4, 4, 4, 4], [4, 5, 4, 4, 4], [4, 5, 6, 4, 4], [4, 5, 6, 7, 8], [4, 4, 4, 4, 9]])
    found = [(groups.tolist(), size) for groups, size in by_size(rows)]
    assert found == [([0], 1), ([1], 2), ([2], 4), ([3, 4], 5)]


@pytest.mark.parametrize("training", [True, False])
def test_interpolated_layer(training: bool) -> None:
    torch.manual_seed(0)
    layer = InterpolatedLayer(6, 3, 4).double()
    settle(layer)
    layer.train(training)
    coarse, skip = torch.randn(9, 6).double(), torch.randn(30, 3).double()
    nearest, weights = torch.randint(9, (30, 3)), torch.rand(30, 3).double()
    ours = layer(coarse, skip, Interpolation(nearest, weights))
    spread = (coarse[nearest] * weights[..., None]).sum(dim=1)
    torch.testing.assert_close(ours, plain(layer, torch.cat([spread, skip], dim=1)))


def test_a_layer_without_norm_has_a_bias() -> None:
    layer = MLPLayer(3, 4, norm=False)
    x = torch.randn(5, 3)
    torch.testing.assert_close(layer(x), torch.relu(x @ layer.weight.t() + layer.bias))
