"""Layers that project before they gather, against the sentence of the paper written out."""

import pytest
import torch
from torch import Tensor, nn

from mink_pd.models.detectors.pointrcnn.pointnet import GroupedMLP, InterpolatedLayer, MLPLayer, by_size
from mink_pd.points import Interpolation


def plain(layer: MLPLayer, x: Tensor) -> Tensor:
    """Linear, batch norm as torch has it, ReLU."""
    assert layer.norm is not None
    return torch.relu(layer.norm(x @ layer.weight.t()))


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
    x, centres = torch.randn(50, 7).double(), torch.randn(20, 3).double()
    rows = torch.randint(50, (20, 6))
    for group, count in enumerate((1, 2, 3, 4, 5, 6)):  # groups that are filled up with their first row
        rows[group, count:] = rows[group, 0]
    with torch.set_grad_enabled(gradients):
        ours = net(x, centres, rows)
    each = torch.cat([x[rows][..., :3] - centres[:, None], x[rows][..., 3:]], dim=2).view(120, 7)
    for layer in (net.first, *net.rest):
        each = plain(layer, each)
    torch.testing.assert_close(ours, each.view(20, 6, 5).amax(dim=1))


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
