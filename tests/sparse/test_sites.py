"""Sites made from others, against a loop over all places, with and without compiled code."""

import itertools

import pytest
import torch

from mink_pd.native import build as native
from mink_pd.sparse import ME, ConvBlock, Voxels, reached_sites, strided_sites, voxelise
from mink_pd.sparse.kernel_map import kernel_offsets
from mink_pd.sparse.voxels import unique_sites

BOUNDS = (0.0, 0.0, 0.0, 12.0, 10.0, 8.0)


def voxels(dimensions: int, count: int = 60) -> Voxels:
    points = torch.rand(count, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([12.0, 10.0, 8.0, 1.0])
    return voxelise(points, torch.arange(count) % 2, 2, (1, 1, 1), BOUNDS, dimensions)


def places(x: Voxels, key: object) -> set[tuple[int, ...]]:
    coordinates = x.manager.get_coordinates(key)
    found = {tuple(row) for row in coordinates.tolist()}
    assert len(found) == len(coordinates)
    return found


@pytest.fixture(params=["1", "0"], ids=["compiled", "torch"])
def _path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("MINK_PD_NATIVE", request.param)
    native.library.cache_clear()
    yield
    native.library.cache_clear()


@pytest.mark.usefixtures("_path")
@pytest.mark.parametrize("bounds", [None, ((0, 0, 0), (8, 8, 4)), ((2, 2, 2), (100, 100, 100))])
@pytest.mark.parametrize(("kernel", "stride"), [((3, 3, 3), (2, 2, 2)), ((1, 1, 3), (1, 1, 2)), ((3, 3, 3), (1, 1, 1))])
def test_strided_sites_are_those_that_any_input_reaches(
    kernel: tuple[int, ...], stride: tuple[int, ...], bounds: tuple[tuple[int, ...], ...] | None
) -> None:
    x = voxels(3)
    key = reached_sites(x, x.key, kernel, stride, bounds)
    assert key.get_tensor_stride() == list(stride)
    reach = [range(-(k // 2), k // 2 + 1) for k in kernel]
    wanted = set()
    for frame, *site in x.coordinates.tolist():
        for offset in itertools.product(*reach):
            place = tuple(a + b for a, b in zip(site, offset, strict=True))
            inside = bounds is None or all(a <= v <= b for a, v, b in zip(bounds[0], place, bounds[1], strict=True))
            if inside and all(v % step == 0 for v, step in zip(place, stride, strict=True)):
                wanted.add((frame, *place))
    assert places(x, key) == wanted


@pytest.mark.usefixtures("_path")
def test_finer_sites_are_the_cells_of_a_coarse_one() -> None:
    x = voxels(2)
    coarse = x.manager.stride(x.key, 4)
    key = reached_sites(x, coarse, (4, 4), (1, 1))
    wanted = {(b, cx + i, cy + j) for b, cx, cy in places(x, coarse) for i in range(4) for j in range(4)}
    assert places(x, key) == wanted


@pytest.mark.usefixtures("_path")
@pytest.mark.parametrize(("low", "strides"), [(0, [(2, 2, 2), (2, 2, 1)]), (-300, [(3, 1, 5), (2, 4, 2)])])
def test_strided_sites_are_those_of_minkowski(low: int, strides: list[tuple[int, ...]]) -> None:
    random = torch.Generator().manual_seed(0)
    frame = torch.randint(0, 3, (500, 1), generator=random)
    places = torch.randint(low, low + 200, (500, 3), generator=random) // torch.tensor([20, 20, 1])
    rows = torch.unique(torch.cat([frame, places], dim=1), dim=0).int()
    rows = rows[torch.randperm(len(rows), generator=random)]
    managers = [ME.CoordinateManager(D=3, coordinate_map_type=ME.CoordinateMapType.CPU) for _ in range(2)]
    ours, theirs = (manager.insert_and_map(rows, [1, 1, 1], "named")[0] for manager in managers)
    for stride in strides:
        ours, theirs = strided_sites(managers[0], ours, stride), managers[1].stride(theirs, stride)
        assert ours == theirs
        assert managers[0].stride(ours, 1) == ours  # the manager knows it
        a, b = (manager.get_coordinates(key) for manager, key in zip(managers, (ours, theirs), strict=True))
        assert len(a) == len(b)
        assert torch.equal(torch.unique(a, dim=0), torch.unique(b, dim=0))
    assert strided_sites(managers[0], ours, (1, 1, 1)) == ours


MANY = [
    (3, 3, 1, (2, 2, 2), (60, 60, 40)),
    (3, 3, 4, (8, 4, 12), (60, 60, 500)),
    (2, 4, 1, (1, 1), (200, 300)),
    (2, 5, 3, (3, 6), (90, 900)),
]


@pytest.mark.parametrize(("dimensions", "edge", "unit", "step", "span"), MANY, ids=str)
def test_many_sites_against_torch_on_any_number_of_threads(
    dimensions: int, edge: int, unit: int, step: tuple[int, ...], span: tuple[int, ...]
) -> None:
    """More blocks of cells than a task has, lines of one block and of several; rows by frame, then axis after axis."""
    compiled = native.library()
    if compiled is None:
        pytest.skip("compiled code is not available here")
    random = torch.Generator().manual_seed(0)
    places = (torch.rand(20_000, dimensions, generator=random) * torch.tensor(span)).int() - 30
    rows = torch.cat([torch.randint(0, 2, (len(places), 1), generator=random).int(), places * unit], dim=1)
    rows = torch.unique(rows, dim=0)
    offsets = kernel_offsets([edge] * dimensions, [1] * dimensions, [unit] * dimensions)
    reached = (rows[:, None, 1:] + offsets).flatten(end_dim=1)
    reached = torch.cat([rows[:, :1].repeat_interleave(len(offsets), dim=0), reached], dim=1)
    grown = torch.unique(reached[(reached[:, 1:] % torch.tensor(step) == 0).all(dim=1)], dim=0)
    floor = torch.div(rows[:, 1:], torch.tensor(step), rounding_mode="floor") * torch.tensor(step)
    strided = torch.unique(torch.cat([rows[:, :1], floor], dim=1).int(), dim=0)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            assert torch.equal(compiled.grow(rows, offsets, step), grown)
            shuffled = rows[torch.randperm(len(rows), generator=random)]
            assert torch.equal(compiled.grow(shuffled, offsets, step), grown)
            assert torch.equal(compiled.strided(shuffled, step), strided)
    finally:
        torch.set_num_threads(threads)


def test_two_networks_get_the_same_rows_and_other_geometry_other_ones() -> None:
    x = voxels(2)
    outputs = []
    for channels in (8, 3):
        down, up = ConvBlock(channels, 4, stride=2), ConvBlock(4, 5, 2, 2, transposed=True)
        coarse = down(x.tensor(torch.rand(len(x), channels)))
        outputs.append((coarse, up(coarse, reached_sites(x, coarse.coordinate_map_key, (2, 2), (1, 1)))))
    for large, small in zip(*outputs, strict=True):
        assert large.coordinate_map_key == small.coordinate_map_key
        assert torch.equal(large.C, small.C)
    wider = reached_sites(x, outputs[0][0].coordinate_map_key, (4, 4), (1, 1))
    assert wider != outputs[0][1].coordinate_map_key


def test_unique_sites_against_torch() -> None:
    rows = torch.randint(0, 5, (200, 4), generator=torch.Generator().manual_seed(1)).int()
    sites, inverse = unique_sites(rows)
    wanted, wanted_inverse = torch.unique(rows, dim=0, return_inverse=True)
    assert torch.equal(sites, wanted)
    assert torch.equal(inverse, wanted_inverse)
    assert len(unique_sites(rows[:0])[0]) == 0
