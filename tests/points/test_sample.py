"""The points that networks share: which are chosen, how they are grouped, and the way back."""

from types import SimpleNamespace

import torch
from torch import Tensor

from mink_pd.models.taps import PointTap
from mink_pd.points import abstract, choose_points, farthest_points, interpolate

BOUNDS = (0.0, -40.0, -3.0, 70.0, 40.0, 1.0)


def cloud(near: int, far: int) -> Tensor:
    x = torch.cat([1 + 20 * torch.rand(near), 50 + 10 * torch.rand(far)])
    return torch.stack([x, torch.rand(len(x)), -torch.rand(len(x)), torch.rand(len(x))], dim=1)


def choose(points: list[Tensor], count: int, by_content: bool = False):  # type: ignore[no-untyped-def]
    sizes = torch.tensor([len(p) for p in points])
    frame = torch.repeat_interleave(torch.arange(len(points)), sizes)
    return choose_points(torch.cat(points), frame, len(points), BOUNDS, count, 40.0, by_content)


def rows(points: Tensor) -> list[tuple[float, ...]]:
    return [tuple(row) for row in points.tolist()]


def test_far_points_are_kept_and_near_ones_drawn_once() -> None:
    points = cloud(300, 40)
    (chosen,) = choose([points], 100).points
    assert set(rows(points[300:])) <= set(rows(chosen))
    assert len(set(rows(chosen))) == 100
    assert set(rows(chosen)) <= set(rows(points))
    assert not (chosen[:40, 0] > 40).all()  # mixed


def test_more_far_points_than_fit_are_drawn_like_others() -> None:
    (chosen,) = choose([cloud(300, 300)], 100).points
    assert 20 < int((chosen[:, 0] > 40).sum()) < 80


def test_few_points_are_all_there_and_some_twice() -> None:
    points = cloud(30, 3)
    (chosen,) = choose([points], 50).points
    assert set(rows(chosen)) == set(rows(points))


def test_points_out_of_range_and_empty_frames_are_left_out() -> None:
    outside = cloud(20, 0) - torch.tensor([100.0, 0, 0, 0])
    sample = choose([outside, torch.cat([cloud(60, 0), outside]), torch.zeros(0, 4)], 40)
    assert sample.present.tolist() == [1]
    assert sample.frames == 3
    assert sample.frame.tolist() == [1] * 40
    assert (sample.points[..., 0] > 0).all()
    assert len(choose([outside], 40)) == 0


def test_by_content_the_choice_is_the_frames_own() -> None:
    points = [cloud(200, 20), cloud(150, 0)]
    alone = choose(points[1:], 64, by_content=True)
    together = choose(points, 64, by_content=True)
    assert torch.equal(alone.points[0], together.points[1])
    outside = torch.cat([points[1], torch.tensor([[-5.0, 0, 0, 0.5]])])
    assert torch.equal(alone.points, choose([outside], 64, by_content=True).points)
    moved = points[1].clone()
    moved[0, 3] += 0.25
    assert not torch.equal(alone.points[..., :3], choose([moved], 64, by_content=True).points[..., :3])
    assert not torch.equal(choose(points, 64).points, choose(points, 64).points)


def test_smaller_levels_are_what_sampling_the_level_above_gives() -> None:
    xyz = torch.randn(2, 500, 3)
    stages = [SimpleNamespace(points=n, radii=[0.5], neighbours=[8]) for n in (200, 60, 12)]
    above = xyz
    for level in abstract(xyz, stages):
        wanted = farthest_points(above, level.xyz.shape[1])
        assert torch.equal(level.xyz, above.gather(1, wanted[..., None].expand(-1, -1, 3)))
        distance = (above.reshape(-1, 3)[level.groups[0]] - level.xyz.view(-1, 1, 3)).norm(dim=2)
        assert (distance < 0.5).all()
        above = level.xyz


def test_a_stage_of_no_points_is_one_group_of_all() -> None:
    xyz = torch.randn(3, 10, 3)
    stages = [
        SimpleNamespace(points=4, radii=[1.0], neighbours=[2]),
        SimpleNamespace(points=0, radii=[9.0], neighbours=[4]),
    ]
    last = abstract(xyz, stages)[-1]
    assert last.groups[0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert (last.xyz == 0).all()


def test_interpolation_against_a_loop() -> None:
    xyz, known = torch.randn(2, 40, 3), torch.randn(2, 9, 3)
    features = torch.randn(18, 5)
    way = interpolate(xyz, known)
    ours = (features[way.nearest] * way.weights[..., None]).sum(dim=1)
    for frame in range(2):
        for i in range(40):
            distance = (known[frame] - xyz[frame, i]).norm(dim=1)
            near = distance.argsort()[:3]
            weight = 1 / distance[near]
            wanted = (features[9 * frame + near] * (weight / weight.sum())[:, None]).sum(dim=0)
            torch.testing.assert_close(ours[40 * frame + i], wanted, rtol=1e-4, atol=1e-5)


def test_a_known_point_keeps_its_feature() -> None:
    xyz = torch.randn(1, 20, 3)
    way = interpolate(xyz, xyz[:, :8])
    assert way.nearest[:8, 0].tolist() == list(range(8))
    assert (way.weights[:8, 0] > 0.999).all()


def test_taps_share_rows_only_on_one_sample() -> None:
    points = [cloud(100, 5)]
    first, second = choose(points, 32, [1]), choose(points, 32, [1])
    taps = [PointTap(torch.rand(32, c), s) for c, s in ((4, first), (2, first), (4, second))]
    assert taps[0].shares_rows(taps[1])
    assert not taps[0].shares_rows(taps[2])
    assert torch.equal(taps[0].centres, first.points[0, :, :3])
