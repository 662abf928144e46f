"""Pairs of rows for each offset of a kernel, against MinkowskiEngine and against a loop, and who shares them."""

import pytest
import torch
from sparse_layers import coordinates, sparse

from mink_pd.native import build as native
from mink_pd.sparse import kernel_map
from mink_pd.sparse.conv import SparseConv

pytestmark = pytest.mark.usefixtures("compiled")


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


def test_layers_on_one_manager_share_keys_and_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    build = kernel_map.KernelMap.__init__
    monkeypatch.setattr(kernel_map.KernelMap, "__init__", lambda *args: (built.append(args), build(*args))[1])
    x = sparse(coordinates(2), 4)
    teacher, student = SparseConv(4, 8, 3, 2, dimension=2), SparseConv(4, 2, 3, 2, dimension=2)
    a, b = teacher(x), student(x)
    assert a.coordinate_map_key == b.coordinate_map_key
    assert len(built) == 1
    SparseConv(4, 4, 3, dimension=2)(x)
    assert len(built) == 2
