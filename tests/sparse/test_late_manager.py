"""Maps that are inserted late, beside a manager of MinkowskiEngine that inserts at once."""

from typing import Any

import pytest
import torch
from sparse_layers import close, coordinates, on

from mink_pd.native import build as native
from mink_pd.sparse import ME, ConvBlock
from mink_pd.sparse.kernel_map import insert_sites
from mink_pd.sparse.late_manager import LateManager


def tensors(channels: int = 4) -> list["ME.SparseTensor"]:
    """The same features on the same sites of a late manager and of one that inserts at once."""
    sites = coordinates(3)
    features = torch.randn(len(sites), channels, generator=torch.Generator().manual_seed(1))
    managers = [LateManager(3), ME.CoordinateManager(D=3, coordinate_map_type=ME.CoordinateMapType.CPU)]
    return [on(features, insert_sites(manager, sites, [1, 1, 1], ""), manager) for manager in managers]


def inserted(manager: Any, stride: int = 1) -> int:
    return len(manager._tables.get_coordinate_map_keys([stride] * 3))


@pytest.mark.usefixtures("compiled")
def test_our_layers_insert_nothing_and_compute_the_same() -> None:
    torch.manual_seed(0)
    layers: Any = torch.nn.Sequential(
        ConvBlock(4, 8, dimension=3),
        ConvBlock(8, 8, stride=2, grow=True, dimension=3),
        ConvBlock(8, 8, stride=2, dimension=3),
    ).eval()
    with torch.no_grad():
        late, now = (layers(x) for x in tensors())
    assert [inserted(late.coordinate_manager, stride) for stride in (1, 2, 4)] == [0, 0, 0]
    assert late.coordinate_map_key == now.coordinate_map_key
    assert torch.equal(late.F, now.F)
    assert torch.equal(late.C, now.C)
    assert late.coordinate_manager.size(late.coordinate_map_key) == len(late.F)
    assert [inserted(late.coordinate_manager, stride) for stride in (1, 2, 4)] == [1, 1, 1]
    assert torch.equal(late.coordinate_manager.get_coordinates(late.coordinate_map_key), now.C)


def test_layers_of_minkowski_find_the_maps() -> None:
    torch.manual_seed(0)
    layer = ME.MinkowskiMaxPooling(3, 2, dimension=3)
    late, now = (layer(x) for x in tensors())
    assert torch.equal(torch.unique(late.C, dim=0), torch.unique(now.C, dim=0))
    order = [torch.unique(y.C, dim=0, return_inverse=True)[1].argsort() for y in (late, now)]
    close(late.F[order[0]], now.F[order[1]])


def test_a_name_that_is_taken_gives_another_key() -> None:
    manager, sites = LateManager(3), coordinates(3)
    keys = [insert_sites(manager, sites + shift, [1, 1, 1], "same") for shift in range(3)]
    assert len({key.get_key()[1] for key in keys}) == 3
    for shift, key in enumerate(keys):
        assert torch.equal(manager.get_coordinates(key), sites + shift)


def test_coordinates_are_copies() -> None:
    (x, _), sites = tensors(), coordinates(3)
    x.coordinate_manager.get_coordinates(x.coordinate_map_key).zero_()
    assert torch.equal(x.C, sites)


def test_without_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINK_PD_NATIVE", "0")
    native.library.cache_clear()
    try:
        layer: Any = ConvBlock(4, 8, stride=2, grow=True, dimension=3).eval()
        with torch.no_grad():
            late, now = (layer(x) for x in tensors())
        assert torch.equal(late.C, now.C)
        close(late.F, now.F)
    finally:
        native.library.cache_clear()
