"""Several resolutions as one tap."""

import pytest
import torch

from mink_pd.models.site_pooling import pool
from mink_pd.models.taps import LevelsTap, SiteTap
from mink_pd.sparse import Voxels, reached_sites, voxelise
from mink_pd.sparse.sites import on_sites


def levels(seed: int = 0) -> tuple[LevelsTap, Voxels]:
    """Two levels, strides 1 and 2, of two frames, each with the values 0, 1, 2 ... of its rows."""
    torch.manual_seed(seed)
    points = torch.rand(50, 4) * torch.tensor([8.0, 8.0, 1.0, 1.0])
    voxels = voxelise(points, torch.arange(50) % 2, 2, (1, 1, 1), (0, 0, 0, 8, 8, 1), 2)
    taps = []
    for stride in (1, 2):
        key = voxels.key if stride == 1 else reached_sites(voxels, voxels.manager.stride(voxels.key, 2), (1, 1), (2, 2))
        rows = torch.arange(len(voxels.manager.get_coordinates(key))).float()
        taps.append(SiteTap(on_sites(rows[:, None], key, voxels), voxels))
    return LevelsTap(taps), voxels


def test_rows_are_those_of_the_levels_in_turn() -> None:
    tap, _ = levels()
    fine, coarse = tap.levels
    assert len(tap.features) == len(fine.features) + len(coarse.features) == len(tap.frame) == len(tap.counts())
    torch.testing.assert_close(tap.centres, torch.cat([fine.centres, coarse.centres]))
    chosen = torch.tensor([len(fine.features) + 1, 0, len(fine.features)])
    wanted = [level.positions(torch.tensor([row])) for level, row in ((coarse, 1), (fine, 0), (coarse, 0))]
    torch.testing.assert_close(tap.positions(chosen), torch.cat(wanted))
    assert float(tap.counts().sum()) == 2 * 50


def test_order_is_by_frame_and_each_row_once() -> None:
    tap, _ = levels()
    order = tap.order()
    assert torch.equal(order.sort().values, torch.arange(len(order)))
    assert (tap.frame[order].diff() >= 0).all()


def test_values_are_carried_by_the_level_with_the_largest() -> None:
    tap, voxels = levels()
    fine, coarse = tap.levels
    values = torch.rand(len(tap.features))
    of_cell = dict(zip(map(tuple, coarse.coordinates.tolist()), values[len(fine.features) :], strict=True))
    parents = [of_cell[f, x // 2 * 2, y // 2 * 2] for f, x, y in fine.coordinates.tolist()]
    wanted = torch.maximum(values[: len(fine.features)], torch.stack(parents))
    torch.testing.assert_close(tap.carry(values, fine), wanted)
    torch.testing.assert_close(tap.on_points(values), wanted[voxels.rows])
    assert torch.equal(tap.carry(values, tap), values)
    back = fine.carry(values[: len(fine.features)], tap)
    torch.testing.assert_close(back[: len(fine.features)], values[: len(fine.features)])


@pytest.mark.parametrize("other", ["fine", "fewer", "elsewhere"])
def test_rows_are_not_shared_with(other: str) -> None:
    tap, _ = levels()
    stranger = {"fine": tap.levels[0], "fewer": LevelsTap(tap.levels[:1]), "elsewhere": levels(1)[0]}[other]
    assert tap.shares_rows(LevelsTap(list(tap.levels)))
    assert not tap.shares_rows(stranger)


@pytest.mark.parametrize("how", ["sum", "amax"])
@pytest.mark.parametrize("strides", [(2, 2), (2, 4), (4, 2), (2, 8)], ids=str)
@pytest.mark.parametrize("shuffled", ["", "source", "target", "source, target"])
def test_values_are_carried_as_by_a_loop_over_cells(shuffled: str, strides: tuple[int, int], how: str) -> None:
    random = torch.Generator().manual_seed(0)
    places = []
    for name, count, stride in zip(("source", "target"), (18, 90), strides, strict=True):
        cells = torch.randint(0, 24, (count, 3), generator=random) // torch.tensor([12, stride, stride])
        sites = torch.unique(cells, dim=0).int() * torch.tensor([1, stride, stride], dtype=torch.int32)
        places.append(sites[torch.randperm(len(sites), generator=random)] if name in shuffled else sites)
    source, target = places
    values = torch.randn(len(source), generator=random)
    found = pool(values, source, strides[0], target, strides[1], how)
    coarse = max(strides)
    for place, value in zip(target.tolist(), found.tolist(), strict=True):
        cell = (place[0], place[1] // coarse, place[2] // coarse)
        inside = [
            float(one)
            for one, (frame, x, y) in zip(values, source.tolist(), strict=True)
            if (frame, x // coarse, y // coarse) == cell
        ]
        assert value == pytest.approx((sum(inside) if how == "sum" else max(inside)) if inside else 0, abs=1e-5)
    assert (found == 0).any()
    assert (found != 0).any()
