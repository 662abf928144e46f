"""The feature pyramid against plain formulas."""

import torch
from torch import Tensor

from mink_pd.models.layers.bev import SparseBev
from mink_pd.models.layers.necks import DenseFpn
from mink_pd.sparse import holding, voxelise


@torch.no_grad()
def test_dense_pyramid_is_the_figure() -> None:
    """Lin et al., figure 3: laterals, twice as large from above, a sum, a convolution of each."""
    torch.manual_seed(0)
    net = DenseFpn([4, 5, 6], 3).eval()
    maps = [torch.randn(2, channels, size, size) for channels, size in ((4, 8), (5, 4), (6, 2))]
    lateral = [block(image) for block, image in zip(net.laterals, maps, strict=True)]
    sums = [lateral[2]]
    for finer in (lateral[1], lateral[0]):
        sums.insert(0, finer + sums[0].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    for level, block, total in zip(net(maps), net.outputs, sums, strict=True):
        torch.testing.assert_close(level, block(total))


@torch.no_grad()
def test_sparse_pyramid_where_few_cells_are_occupied() -> None:
    """Site by site with dictionaries: what a cell is made of before the last convolution."""
    torch.manual_seed(0)
    net = SparseBev([3, 4, 5, 6], [2, 2, 2], [0, 1, 0], 4, fpn=True).eval()
    points = torch.rand(40, 4) * torch.tensor([64.0, 64.0, 1.0, 1.0])
    voxels = voxelise(points, torch.arange(40) % 2, 2, (1, 1, 1), (0, 0, 0, 64, 64, 1), 2)
    seen = []
    for output in net.neck.outputs:
        output.register_forward_pre_hook(lambda _, inputs: seen.insert(0, inputs[0]))
    features = net(voxels.tensor(torch.randn(len(voxels), 3)), voxels)
    above: dict[tuple[int, ...], Tensor] = {}
    for number in (2, 1, 0):
        stage, stride = features.stages[number], 2 ** (number + 1)
        own = {tuple(c): row for c, row in zip(stage.C.tolist(), net.neck.laterals[number](stage).F, strict=True)}
        here = {}
        for frame, x, y in features.stages[2].C.tolist():
            for dx in range(0, 8, stride):
                for dy in range(0, 8, stride):
                    place = (frame, x + dx, y + dy)
                    parent = (frame, *(c // (2 * stride) * 2 * stride for c in place[1:]))
                    here[place] = own.get(place, torch.zeros(4)) + above.get(parent, torch.zeros(4))
        sums = seen[number]
        assert {tuple(c) for c in sums.C.tolist()} == here.keys()
        assert len(own) < len(here) or number == 2
        for place, row in zip(sums.C.tolist(), sums.F, strict=True):
            torch.testing.assert_close(row, here[tuple(place)])
        level = features.levels[number]
        assert level.stride == stride
        assert torch.equal(level.coordinates, sums.C)
        above = here


def test_holding_cells() -> None:
    torch.manual_seed(0)
    points = torch.rand(60, 4) * torch.tensor([16.0, 16.0, 1.0, 1.0])
    voxels = voxelise(points, torch.arange(60) % 2, 2, (1, 1, 1), (0, 0, 0, 16, 16, 1), 2)
    coarse = voxels.manager.stride(voxels.key, 4)
    sites = voxels.manager.get_coordinates(coarse)
    rows = holding(voxels, coarse, voxels.key)
    for place, row in zip(voxels.coordinates.tolist(), rows.tolist(), strict=True):
        assert sites[row].tolist() == [place[0], place[1] // 4 * 4, place[2] // 4 * 4]
    assert len(rows.unique()) == len(sites) < len(rows)
    assert holding(voxels, coarse, voxels.key) is rows  # made once for all networks
