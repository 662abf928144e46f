"""Voxels against a plain loop; shared coordinate maps row for row."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mink_pd.config import Config
from mink_pd.native.operators import operators
from mink_pd.sparse import segment_linear_max, segment_max, segment_mean, voxelise
from mink_pd.sparse.voxels import grid_shape, in_grid, sort_into_cells

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


def test_pooling_agrees_with_a_loop_and_with_autograd() -> None:
    rows = torch.tensor([0, 2, 2, 0, 3, 3, 3])
    values = torch.randint(-3, 4, (7, 5), dtype=torch.float64)  # integers: equal maxima occur
    values.requires_grad_()
    ours = segment_max(values, rows, 4)
    expected = torch.stack([values[rows == i].amax(dim=0) if (rows == i).any() else torch.zeros(5) for i in range(4)])
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


KITTI = (0.0, -39.68, -3.0, 69.12, 39.68, 1.0)
GRIDS = [((0.16, 0.16, 4.0), 2), ((0.05, 0.05, 0.1), 3), ((0.3, 0.7, 0.13), 3)]


def same_cells(points: torch.Tensor, frame: torch.Tensor, frames: int, bounds: tuple[float, ...]) -> None:
    """The compiled operator agrees with its definition in torch, to the bit."""
    compiled = operators()
    if compiled is None:
        pytest.skip("nothing is compiled here")
    for size, dimensions in GRIDS:
        lower, edge = torch.tensor(bounds[:3]), torch.tensor(size)
        inputs = (points, frame, frames, lower, edge, grid_shape(bounds, size), dimensions)
        for ours, wanted in zip(compiled.voxelise(*inputs), sort_into_cells(*inputs), strict=True):
            assert ours.dtype == wanted.dtype
            assert torch.equal(ours, wanted)


@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_voxels_are_those_of_the_definition(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        random = np.random.default_rng(1)
        xyz = random.uniform([-2, -42, -4], [72, 42, 2], (50_000, 3))
        points = torch.from_numpy(np.hstack([xyz, random.random((len(xyz), 2))]).astype(np.float32))
        frame = torch.from_numpy(random.choice([0, 1, 3], len(xyz)))  # unsorted; frame 2 and 4 are empty
        same_cells(points, frame, 5, KITTI)
        for few in (0, 1, 2):
            same_cells(points[:few], frame[:few], 5, KITTI)
        same_cells(points[:, [1, 0, 2, 3]], frame, 5, KITTI)  # no copy in order, half of it outside
    finally:
        torch.set_num_threads(before)


def test_compiled_voxels_agree_on_the_faces_of_cells() -> None:
    """Points on and beside every face, at the range's ends, and what is no number."""
    steps = torch.arange(-2, 435, dtype=torch.float32) * np.float32(0.16)
    up, down = torch.nextafter(steps, torch.tensor(1e9)), torch.nextafter(steps, torch.tensor(-1e9))
    x = torch.cat([steps, up, down, torch.tensor([-0.0, np.nan, np.inf, -np.inf, 69.12, 1e30])])
    y = torch.cat([x, -x, torch.tensor([-39.68, 39.68])])
    points = torch.zeros(len(y), 4)
    points[:, 0], points[:, 1] = y, y.flip(0)
    for axis, limits in ((0, (0.0, 69.12)), (1, (-39.68, 39.68)), (2, (-3.0, 1.0))):
        for limit in limits:
            edge = torch.tensor([[20.0, 1.0, 0.0, 0.5]]).repeat(3, 1)
            value = torch.tensor(limit)
            edge[:, axis] = torch.stack([value, torch.nextafter(value, value + 1), torch.nextafter(value, value - 1)])
            points = torch.cat([points, edge])
    same_cells(points, torch.zeros(len(points), dtype=torch.int64), 1, KITTI)


def test_compiled_voxels_agree_on_real_frames(shared: Callable[[str], Path]) -> None:
    paths = sorted((shared("kitti_real") / "training" / "velodyne").glob("*.bin"))
    clouds = [torch.from_numpy(np.fromfile(path, dtype="<f4").reshape(-1, 4)) for path in paths]
    frame = torch.repeat_interleave(torch.arange(len(clouds)), torch.tensor([len(cloud) for cloud in clouds]))
    same_cells(torch.cat(clouds), frame, len(clouds), KITTI)


def test_a_frame_that_is_not_in_the_batch_is_refused() -> None:
    compiled = operators()
    if compiled is None:
        pytest.skip("nothing is compiled here")
    inputs = (torch.tensor(BOUNDS[:3]), torch.tensor([0.5, 0.5, 4.0]), (16, 16, 1), 2)
    with pytest.raises(RuntimeError, match="frame is not one of the batch"):
        compiled.voxelise(cloud(5), torch.full((5,), 2), 2, *inputs)


@pytest.mark.parametrize("channels", [1, 5, 16, 33, 64])
def test_the_largest_of_a_linear_map_agrees_with_autograd(channels: int) -> None:
    generator = torch.Generator().manual_seed(channels)
    rows = torch.randint(0, 700, (3000,), generator=generator)
    rows = torch.unique(rows, return_inverse=True)[1]  # no group is empty
    counts = torch.bincount(rows)
    x = torch.randn(3000, 10, generator=generator)
    weight, bias = torch.randn(channels, 10, generator=generator), torch.randn(channels, generator=generator)
    upstream = torch.randn(len(counts), channels, generator=generator)
    results = []
    for exact in (False, True):
        w, b, inputs = (t.double() if exact else t.clone() for t in (weight, bias, x))
        w.requires_grad_(), b.requires_grad_()
        if exact:
            each = inputs @ w.T + b
            y = torch.stack([each[rows == group].amax(dim=0) for group in range(len(counts))])
        else:
            y = segment_linear_max(inputs, w, b, rows, counts)
        (y * upstream).sum().backward()
        results.append([t.float() for t in (y.detach(), w.grad, b.grad)])
    for ours, wanted in zip(*results, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-4)


def test_numbers_that_blew_up_stay_visible() -> None:
    x = torch.ones(4, 2)
    y = segment_linear_max(
        x, torch.full((3, 2), torch.nan), torch.zeros(3), torch.tensor([0, 0, 1, 1]), torch.tensor([2, 2])
    )
    assert y.isnan().all()


def test_a_point_beyond_the_last_whole_voxel_is_in_none() -> None:
    """2.3 m hold two voxels of 1 m, by the nearest number: 0.3 m of the range are beyond them."""
    bounds, size = (0.0, 0.0, 0.0, 2.3, 2.0, 1.0), (1.0, 1.0, 1.0)
    points = torch.tensor([[1.9, 1.9, 0.5, 0.0], [2.1, 1.0, 0.5, 0.0], [-0.1, 1.0, 0.5, 0.0], [1.0, 1.0, 1.0, 0.0]])
    assert in_grid(points, size, bounds).tolist() == [True, False, False, False]
    voxels = voxelise(points, torch.zeros(4, dtype=torch.int64), 1, size, bounds, 3)
    assert torch.equal(voxels.points, points[:1])
