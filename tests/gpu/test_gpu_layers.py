"""Voxels, sparse layers, norms, pooling and nearest neighbours on the GPU, beside the CPU and dense convolutions."""

from typing import Any

import numpy as np
import pytest
import torch
from gpu_device import assert_close, gpu, on_both, sorted_rows, to_numpy
from pretend_cuda import pretended_cuda
from torch.nn import functional

from mink_pd.sparse import ConvBlock, SparseConv, knn, segment_linear_max, segment_max, segment_mean, voxelise
from mink_pd.sparse.norm import BatchNorm

BOUNDS = (0.0, -1.6, -1.0, 3.2, 1.6, 0.6)  # 16 x 16 x 8 voxels
SIZE = (0.2, 0.2, 0.2)


def cloud(points: int = 900) -> tuple[torch.Tensor, torch.Tensor]:
    """Points (P, 4), some out of range, of frames 0 and 2 of three."""
    random = np.random.default_rng(0)
    points = random.uniform([-0.2, -1.8, -1.2, 0], [3.4, 1.8, 0.8, 1], (points, 4)).astype(np.float32)
    return torch.from_numpy(points), torch.from_numpy(random.integers(0, 2, len(points)) * 2)


def voxels_on(device: str, dimensions: int = 3) -> Any:
    points, frame = cloud()
    return voxelise(points.to(device), frame.to(device), 3, SIZE, BOUNDS, dimensions)


def test_a_pretended_gpu_refuses_what_a_gpu_refuses() -> None:
    with pretended_cuda():
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        assert there.device == torch.device("cuda:0")
        assert (there.new_zeros(2) + 1).is_cuda
        assert not ((2 * there).cpu() + here).is_cuda
        assert (here.to(there.device) + there).is_cuda
        for mistake in (
            lambda: there + here,
            lambda: torch.cat([there, here]),
            lambda: here[there.long()],
            lambda: there.index_add_(0, torch.arange(3), there),
            lambda: there.numpy(),
            lambda: np.asarray(there),
        ):
            with pytest.raises((RuntimeError, TypeError), match=r"cuda:0|on the CPU"):
                mistake()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_voxels(dimensions: int) -> None:
    def work(device: str) -> tuple[np.ndarray, ...]:
        voxels = voxels_on(device, dimensions)
        assert voxels.points.device.type == device
        mean = segment_mean(voxels.points, voxels.rows, voxels.counts)  # (M, 4)
        highest = segment_max(voxels.points, voxels.rows, len(voxels))
        assert torch.equal(voxels.manager.get_coordinates(voxels.key), voxels.coordinates)
        values = torch.cat([mean, highest, voxels.counts[:, None].to(mean.dtype)], dim=1)
        return sorted_rows(voxels.coordinates, values)

    (places, values), (found_places, found_values) = on_both(work)
    assert (found_places == places).all()
    assert_close(found_values, values, 1e-5)


KINDS: dict[str, tuple[dict[str, Any], bool]] = {
    "submanifold": ({"kernel": 3}, False),
    "strided": ({"kernel": 3, "stride": 2}, False),
    "growing": ({"kernel": 3, "stride": 2, "grow": True}, False),
    "pointwise": ({"kernel": 1}, False),
    "transposed": ({"kernel": 2, "stride": 2, "transposed": True}, True),
}


@pytest.mark.parametrize("mode", ["train", "infer"])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks(kind: str, mode: str) -> None:
    settings, coarse_input = KINDS[kind]

    def work(device: str) -> list[np.ndarray]:
        voxels = voxels_on(device)
        features = segment_mean(voxels.points, voxels.rows, voxels.counts).requires_grad_(mode == "train")
        x = voxels.tensor(features)
        before = ConvBlock(4, 4, kernel=3, stride=2, dimension=3).to(device) if coarse_input else None
        block = ConvBlock(4, 6, dimension=3, **settings).to(device)
        block.norm.running_mean += 0.1
        block.train(mode == "train")
        with torch.set_grad_enabled(mode == "train"):
            y = block(x if before is None else before(x))
        results = [*sorted_rows(y.C, y.F)]
        if mode == "train":
            y.F.square().sum().backward()
            kernel = block.convolution.kernel.grad
            results += [to_numpy(kernel).reshape(-1, 6), sorted_rows(voxels.coordinates, features.grad)[1]]
        return results

    wanted, found = on_both(work)
    assert (found[0] == wanted[0]).all()
    for ours, theirs in zip(found[1:], wanted[1:], strict=True):
        assert_close(ours, theirs)


def test_a_convolution_is_the_dense_one_at_the_occupied_voxels() -> None:
    with gpu():
        voxels = voxels_on("cuda")
        torch.manual_seed(0)
        layer = SparseConv(4, 5, 3, dimension=3)
        kernel = layer.kernel.detach().clone()  # (27, in, out), x runs fastest
        layer = layer.to("cuda")
        x = segment_mean(voxels.points, voxels.rows, voxels.counts)
        y = layer(voxels.tensor(x))
        places, features = (to_numpy(t) for t in (voxels.coordinates, x))
        out_places, found = (to_numpy(t) for t in (y.C, y.F))
    frame, cx, cy, cz = places.T
    grid = torch.zeros(3, 4, 8, 16, 16)  # frame, channel, z, y, x
    grid[frame, :, cz, cy, cx] = torch.from_numpy(features)
    weight = kernel.view(3, 3, 3, 4, 5).permute(4, 3, 0, 1, 2)
    dense = functional.conv3d(grid, weight, padding=1)
    frame, cx, cy, cz = out_places.T
    assert_close(found, dense[frame, :, cz, cy, cx].numpy(), 1e-5)


def test_batch_norm() -> None:
    def work(device: str) -> list[np.ndarray]:
        x = torch.randn(50, 6, generator=torch.Generator().manual_seed(3)).to(device).requires_grad_()
        norm = BatchNorm(6).to(device)
        norm(x).pow(3).sum().backward()
        return [to_numpy(t) for t in (norm.running_mean, norm.running_var, norm.weight.grad, x.grad)]

    for ours, theirs in zip(*on_both(work), strict=True):
        assert_close(ours, theirs)


def test_the_largest_of_a_linear_map() -> None:
    def work(device: str) -> list[np.ndarray]:
        voxels = voxels_on(device, dimensions=2)
        weight, bias = (torch.randn(*size, generator=torch.Generator().manual_seed(4)) for size in ((6, 4), (6,)))
        weight, bias = (x.to(device).requires_grad_() for x in (weight, bias))
        y = segment_linear_max(voxels.points, weight, bias, voxels.rows, voxels.counts)
        y.square().sum().backward()
        return [sorted_rows(voxels.coordinates, y)[1], to_numpy(weight.grad), to_numpy(bias.grad)]

    for ours, theirs in zip(*on_both(work), strict=True):
        assert_close(ours, theirs)


def test_nearest_neighbours_are_those_of_all_distances() -> None:
    places = torch.rand(200, 2, generator=torch.Generator().manual_seed(5))  # no two distances are equal
    wanted = (places[:, None].double() - places).norm(dim=2).argsort(dim=1)[:, :7]
    with gpu():
        rows = to_numpy(knn(places.to("cuda"), places.to("cuda"), 7))
    assert (rows == wanted.numpy()).all()
