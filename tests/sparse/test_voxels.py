"""Voxels against a plain loop; shared coordinate maps row for row."""

import numpy as np
import pytest
import torch

from mink_pd.config import Config
from mink_pd.sparse import ConvBlock, segment_max, segment_mean, voxelise
from mink_pd.sparse.layers import shared_sites
from mink_pd.sparse.voxels import grid_shape

BOUNDS = (0.0, -4.0, -3.0, 8.0, 4.0, 1.0)


def cloud(points: int, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    xyz = random.uniform([-1, -5, -4], [9, 5, 2], (points, 3))
    return torch.from_numpy(np.hstack([xyz, random.random((points, 1))]).astype(np.float32))


@pytest.mark.parametrize(("size", "dimensions"), [((0.5, 0.5, 4.0), 2), ((0.2, 0.4, 0.5), 3)])
def test_voxelise_agrees_with_a_loop(size: tuple[float, ...], dimensions: int) -> None:
    points = cloud(500)
    frame = torch.arange(500) % 3
    voxels = voxelise(points, frame, 3, size, BOUNDS, dimensions)
    lower, upper = np.float32(BOUNDS[:3]), np.float32(BOUNDS[3:])
    expected: dict[tuple[int, ...], list[int]] = {}
    kept = 0
    for point, index in zip(points.numpy(), frame.tolist(), strict=True):
        if (point[:3] < lower).any() or (point[:3] >= upper).any():
            continue
        cell = np.floor((point[:3] - lower) / np.float32(size)).astype(int)[:dimensions]
        expected.setdefault((index, *cell.tolist()), []).append(kept)
        kept += 1
    assert [tuple(c) for c in voxels.coordinates.tolist()] == sorted(expected)
    for row, cell in enumerate(sorted(expected)):
        assert torch.nonzero(voxels.rows == row)[:, 0].tolist() == expected[cell]
        assert voxels.counts[row] == len(expected[cell])


def test_centres_lie_in_their_cell() -> None:
    voxels = voxelise(cloud(300), torch.zeros(300, dtype=torch.int64), 1, (0.5, 0.25, 4.0), BOUNDS, 2)
    offset = voxels.points[:, :2] - voxels.centres(voxels.coordinates, 1)[voxels.rows]
    assert (offset.abs() <= torch.tensor([0.25, 0.125]) + 1e-5).all()


def test_coordinates_on_the_map_are_in_the_same_order() -> None:
    voxels = voxelise(cloud(400), torch.arange(400) % 2, 2, (0.5, 0.5, 4.0), BOUNDS, 2)
    assert torch.equal(voxels.manager.get_coordinates(voxels.key), voxels.coordinates)


def test_no_points_give_no_voxels() -> None:
    voxels = voxelise(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 2, (0.5, 0.5, 4.0), BOUNDS, 2)
    assert len(voxels) == 0
    assert len(voxels.points) == 0


def test_two_networks_get_the_same_rows() -> None:
    voxels = voxelise(cloud(400), torch.arange(400) % 2, 2, (0.5, 0.5, 4.0), BOUNDS, 2)
    outputs = []
    for channels in (8, 3):
        down, up = ConvBlock(channels, 4, stride=2), ConvBlock(4, 5, 2, 2, transposed=True)
        coarse = down(voxels.tensor(torch.rand(len(voxels), channels)))
        outputs.append((coarse, shared_sites(up, coarse, voxels, "up")))
    for large, small in zip(*outputs, strict=True):
        assert large.coordinate_map_key == small.coordinate_map_key
        assert torch.equal(large.C, small.C)


def test_pooling_agrees_with_a_loop_and_with_autograd() -> None:
    rows = torch.tensor([0, 2, 2, 0, 3, 3, 3])
    values = torch.randint(-3, 4, (7, 5), dtype=torch.float64)  # integers: equal maxima occur
    values.requires_grad_()
    ours = segment_max(values, rows, 4)
    expected = torch.stack(
        [values[rows == i].amax(dim=0) if (rows == i).any() else torch.zeros(5) for i in range(4)]
    )
    assert torch.equal(ours, expected)
    weight = torch.rand(4, 5, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((ours * weight).sum(), values)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), values)
    torch.testing.assert_close(gradient, wanted)
    counts = torch.bincount(rows, minlength=4).clamp(min=1)
    mean = segment_mean(values, rows, counts)
    assert torch.allclose(mean[2], values[1:3].mean(dim=0))


def test_kitti_grid_is_the_published_one() -> None:
    config = Config()
    assert grid_shape(config.data.range, config.model.voxel_size) == (432, 496, 1)
