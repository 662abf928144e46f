"""The points of a batch that PointNet++ networks share: chosen, sampled and grouped once for all of them."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from mink_pd.points.grouping import (
    ball_query,
    ball_query_ragged,
    farthest_points,
    farthest_points_ragged,
    starts,
)
from mink_pd.sparse import knn


class Stage(Protocol):
    """A set abstraction: points kept, and for each radius [m] how many neighbours are looked at."""

    points: int
    radii: list[float]
    neighbours: list[int]


@dataclass
class Level:
    """One set abstraction: the points kept of the level above, and which of that level's rows each of them sees.

    xyz: (F, M, 3), or (G, 3) where sets differ in size; groups: for each radius int64 (F * M, K) or (G, K), rows among
    all points of the level above.
    """

    xyz: Tensor
    groups: list[Tensor]


@dataclass
class Interpolation:
    """From a level back to the points of the level above.

    nearest: int64 (F * N, 3), the level's rows among F * M that are nearest to each point; weights: (F * N, 3), 1 in
    sum.
    """

    nearest: Tensor
    weights: Tensor


@dataclass
class PointSample:
    """The same number N of points of every frame that has any, and the levels of set abstraction above them.

    They depend on coordinates only: every network that is given the same sample works on the same points, so that row
    i of any of its features is the same point in all of them.

    points: (F, N, 4); present: int64 (F,), which frame of the batch each is; frames: how many the batch has.
    """

    points: Tensor
    present: Tensor
    frames: int
    levels: list[Level] = field(default_factory=list)
    interpolations: list[Interpolation] = field(default_factory=list)

    def __len__(self) -> int:
        return self.points.shape[0] * self.points.shape[1]

    @property
    def rows(self) -> Tensor:
        """(F * N, 4), the points of all frames"""
        return self.points.reshape(-1, self.points.shape[2])

    @property
    def frame(self) -> Tensor:
        """int64 (F * N,), the frame of each row"""
        return self.present.repeat_interleave(self.points.shape[1])


def choose_points(
    points: Tensor,
    frame: Tensor,
    frames: int,
    bounds: tuple[float, ...],
    count: int,
    near: float,
    by_content: bool = False,
) -> PointSample:
    """``count`` of the points (P, 4) within ``bounds`` of each frame that has any; no levels yet.

    All points farther than ``near`` [m] are kept if they fit, the near ones are drawn (PointRCNN, section 4.1); a frame
    with fewer points repeats some. The order is random, so that the first few of a ball are a fair sample. With
    ``by_content`` it follows from the points of the frame alone; otherwise it comes from torch's generator.
    """
    low, high = (torch.tensor(b, device=points.device) for b in (bounds[:3], bounds[3:]))
    inside = ((points[:, :3] >= low) & (points[:, :3] < high)).all(dim=1)
    chosen, present = [], []
    for index in range(frames):
        here = points[inside & (frame == index)]  # (P_f, 4)
        if len(here) == 0:
            continue
        generator = torch.Generator().manual_seed(zlib.crc32(here.cpu().numpy().tobytes())) if by_content else None
        chosen.append(here[_draw(here[:, :3].norm(dim=1) > near, count, generator)])
        present.append(index)
    together = torch.stack(chosen) if chosen else points.new_zeros(0, count, points.shape[1])
    return PointSample(together, torch.tensor(present, dtype=torch.int64, device=points.device), frames)


def _draw(far: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Rows int64 (count,) of the points of which ``far`` (P,) says whether they are far, in random order."""
    total = len(far)
    shuffled = torch.randperm(total, generator=generator).to(far.device)
    if total < count:
        more = torch.randint(total, (count - total,), generator=generator).to(far.device)
        return torch.cat([shuffled, more])
    away = shuffled[far[shuffled]]
    if len(away) < count:
        shuffled = torch.cat([away, shuffled[~far[shuffled]]])[:count]
        shuffled = shuffled[torch.randperm(count, generator=generator).to(far.device)]
    return shuffled[:count]


def abstract(xyz: Tensor, stages: Sequence[Stage]) -> list[Level]:
    """The levels of set abstraction above points (F, N, 3), one a stage.

    A stage of 0 points sees all points of the level above as one group around the origin.
    """
    levels = []
    order = farthest_points(xyz, stages[0].points)  # (F, M): a smaller level is the beginning of this one
    kept = xyz.gather(1, order[..., None].expand(-1, -1, 3))
    for stage in stages:
        frames, above = xyz.shape[:2]
        if stage.points == 0:
            centres = xyz.new_zeros(frames, 1, 3)
            groups = [torch.arange(frames * above, device=xyz.device).view(frames, above) for _ in stage.radii]
        else:
            centres = kept[:, : stage.points].contiguous()
            found = ball_query(xyz, centres, stage.radii, stage.neighbours)
            groups = [_across_frames(rows, above) for rows in found]
        levels.append(Level(centres, groups))
        xyz = centres
    return levels


def abstract_ragged(compiled: Any, xyz: Tensor, sizes: Tensor, stages: Sequence[Stage]) -> list[Level]:
    """:func:`abstract` of sets of unequal size, one after the other: ``sizes`` (F,) of the points (S, 3), all above 0.

    A place is kept once: a level has fewer points of a set that has no more places. That changes no maximum over a
    group, so the features of the last stage, if it is one of 0 points, are those of :func:`abstract` for sets that are
    filled up by repetition.
    """
    order, found = farthest_points_ragged(compiled, xyz, sizes, stages[0].points)
    number = torch.arange(len(order)) - starts(found)[:-1].repeat_interleave(found)  # of each within its set
    kept, levels = xyz[order], []  # (G, 3)
    for stage in stages:
        if stage.points == 0:
            centres, counts = xyz.new_zeros(len(sizes), 3), torch.ones_like(sizes)
            groups = [_whole_sets(sizes)] * len(stage.radii)
        else:
            centres, counts = kept[number < stage.points], found.clamp(max=stage.points)
            groups = ball_query_ragged(compiled, xyz, sizes, centres, counts, stage.radii, stage.neighbours)
        levels.append(Level(centres, groups))
        xyz, sizes = centres, counts
    return levels


def _whole_sets(sizes: Tensor) -> Tensor:
    """Rows int64 (F, K) of each set, for sets of these sizes (F,) that follow one another; filled up with the first."""
    within = torch.arange(int(sizes.max())).expand(len(sizes), -1)  # (F, K)
    return starts(sizes)[:-1, None] + torch.where(within < sizes[:, None], within, 0)


def interpolate(xyz: Tensor, known: Tensor) -> Interpolation:
    """The three of the known points (F, M, 3) nearest to each point (F, N, 3), weighed by inverse distance.

    As published PointRCNNs have it; PointNet++ (section 3.4) squares the distances.
    """
    nearest, weights = [], []
    for points, references in zip(xyz, known, strict=True):
        rows = knn(points, references, 3)  # (N, 3)
        inverse = 1 / ((points[:, None] - references[rows]).norm(dim=2) + 1e-8)
        nearest.append(rows)
        weights.append(inverse / inverse.sum(dim=1, keepdim=True))
    return Interpolation(_across_frames(torch.stack(nearest), known.shape[1]), torch.cat(weights))


def _across_frames(rows: Tensor, size: int) -> Tensor:
    """Rows (F, M, K) within frames of ``size`` points each -> rows (F * M, K) among the points of all frames."""
    start = torch.arange(len(rows), device=rows.device) * size
    return (rows + start[:, None, None]).view(-1, rows.shape[2])
