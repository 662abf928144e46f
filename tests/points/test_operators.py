"""Sampling and searching in point sets against fpsample and loops, compiled and in plain torch."""

from collections.abc import Callable
from typing import Any

import fpsample
import numpy as np
import pytest
import torch
from torch import Tensor

from mink_pd.boxes.geometry import points_in_boxes
from mink_pd.points import grouping

PATHS = ["compiled", "torch"]


@pytest.fixture
def operator(request: pytest.FixtureRequest) -> Callable:
    path, name = request.param
    if path == "torch":
        return getattr(grouping, f"{name}_torch")
    if grouping.operators() is None:
        pytest.skip("no compiled library here")
    return getattr(grouping, name)


def both(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("operator", [(path, name) for path in PATHS], indirect=True, ids=PATHS)


def clouds(count: int, frames: int = 2) -> Tensor:
    """Points that crowd near the origin as a LiDAR's do."""
    torch.manual_seed(0)
    return torch.randn(frames, count, 3) * torch.rand(frames, count, 1) * torch.tensor([20.0, 20.0, 2.0])


@both("farthest_points")
def test_farthest_points_are_fpsamples(operator: Callable) -> None:
    xyz = clouds(900)
    rows = operator(xyz, 300)
    for frame, ours in zip(xyz, rows, strict=True):
        assert ours.tolist() == fpsample.fps_sampling(frame.numpy(), 300, start_idx=0).tolist()


@both("farthest_points")
def test_farthest_points_of_copies_takes_each_place_once_and_the_lowest_row(operator: Callable) -> None:
    xyz = clouds(200).repeat(1, 3, 1)
    rows = operator(xyz, 200)
    for ours in rows:
        assert sorted(ours.tolist()) == list(range(200))
    assert (operator(xyz[:, :1].repeat(1, 8, 1), 3) == 0).all()


@both("ball_query")
def test_ball_query_against_a_loop(operator: Callable) -> None:
    xyz = clouds(700)
    centres = torch.cat([xyz[:, :90], torch.full((2, 1, 3), 500.0)], dim=1)
    radii, neighbours = [0.6, 2.5], [4, 24]
    found = operator(xyz, centres, radii, neighbours)
    short = full = 0
    for frame in range(2):
        for m in range(centres.shape[1]):
            distance = (xyz[frame].double() - centres[frame, m].double()).norm(dim=1).numpy()
            for radius, k, rows in zip(radii, neighbours, found, strict=True):
                wanted = np.flatnonzero(distance < radius)[:k].tolist()
                short, full = short + (len(wanted) < k), full + (len(wanted) == k)
                wanted += (wanted[:1] or [0]) * (k - len(wanted))
                assert rows[frame, m].tolist() == wanted
    assert min(short, full) > 20  # both kinds have been seen


@both("points_of_boxes")
def test_points_of_boxes_against_the_boxes_own_test(operator: Callable) -> None:
    xyz = clouds(800)
    random = np.random.default_rng(0)
    boxes = random.uniform([-15, -15, -1, 1, 1, 1, -4], [15, 15, 1, 12, 6, 4, 4], (40, 7)).astype(np.float32)
    boxes[0, :3] = 300
    frame = torch.arange(40) % 2
    rows, found = operator(xyz, torch.from_numpy(boxes), frame, 16)
    for r in range(40):
        inside = np.flatnonzero(points_in_boxes(xyz[frame[r]].numpy(), boxes[r : r + 1])[0])[:16]
        assert found[r] == len(inside)
        assert rows[r].tolist() == (np.resize(inside, 16) if len(inside) else np.zeros(16)).tolist()
    assert 0 in found
    assert 16 in found
    assert ((found > 0) & (found < 16)).any()


def test_no_boxes_no_points() -> None:
    for path in (grouping.points_of_boxes, grouping.points_of_boxes_torch):
        rows, found = path(clouds(10), torch.zeros(0, 7), torch.zeros(0, dtype=torch.int64), 4)
        assert rows.shape == (0, 4)
        assert found.shape == (0,)


def test_both_paths_agree_on_a_whole_frame(shared: Callable) -> None:
    if grouping.operators() is None:
        pytest.skip("no compiled library here")
    file = sorted((shared("kitti_real") / "training" / "velodyne").glob("*.bin"))[0]
    points = torch.from_numpy(np.fromfile(file, np.float32).reshape(-1, 4)[:, :3].copy())
    xyz = points[points[:, 0] > 0][::7][None].contiguous()
    rows = grouping.farthest_points(xyz, 256)
    assert torch.equal(rows, grouping.farthest_points_torch(xyz, 256))
    centres = xyz[:, rows[0]]
    ours = grouping.ball_query(xyz, centres, [0.5, 1.0], [16, 32])
    theirs = grouping.ball_query_torch(xyz, centres, [0.5, 1.0], [16, 32])
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


SIZES = torch.tensor([5, 90, 1, 40, 64, 200])


def ragged() -> tuple[Tensor, Tensor]:
    """Sets of SIZES points, the fourth of which has every place twice: (S, 3), and the set of each (S,)."""
    sets = [clouds(int(n), frames=1)[0] for n in SIZES]
    sets[3] = sets[3][:20].repeat(2, 1)
    return torch.cat(sets), torch.repeat_interleave(torch.arange(len(SIZES)), SIZES)


def compiled_operators() -> Any:
    compiled = grouping.operators()
    if compiled is None:
        pytest.skip("no compiled library here")
    return compiled


def test_farthest_points_of_ragged_sets_are_fpsamples() -> None:
    xyz, owner = ragged()
    rows, found = grouping.farthest_points_ragged(compiled_operators(), xyz, SIZES, 30)
    assert found.tolist() == [5, 30, 1, 20, 30, 30]  # each place once
    for own, number in zip(rows.split(found.tolist()), range(len(SIZES)), strict=True):
        here = torch.nonzero(owner == number)[:, 0]
        wanted = fpsample.fps_sampling(xyz[here].numpy(), len(own), start_idx=0)
        assert torch.equal(xyz[own], xyz[here[wanted]])  # a copy has another row


def test_ball_query_of_ragged_sets_against_a_loop() -> None:
    xyz, owner = ragged()
    counts = torch.tensor([2, 70, 0, 3, 1, 130])
    of_centre = torch.repeat_interleave(torch.arange(len(counts)), counts)
    centres = torch.randn(len(of_centre), 3)
    radii, neighbours = [1.0, 4.0], [3, 12]
    found = grouping.ball_query_ragged(compiled_operators(), xyz, SIZES, centres, counts, radii, neighbours)
    for radius, k, rows in zip(radii, neighbours, found, strict=True):
        assert rows.shape == (len(centres), k)
        for centre, own, number in zip(centres, rows, of_centre, strict=True):
            near = (xyz - centre).double().norm(dim=1) < radius
            wanted = torch.nonzero(near & (owner == number))[:k, 0].tolist()
            first = wanted[0] if wanted else int(torch.nonzero(owner == number)[0, 0])
            assert own.tolist() == wanted + [first] * (k - len(wanted))
