"""Sampling and searching in point sets of equal size: compiled on the CPU, plain torch elsewhere, the same rows.

Both compute distances in float64 and break ties by the lowest row.
"""

from typing import Any

import torch
from torch import Tensor

from mink_pd.boxes.offsets import box_offsets
from mink_pd.native.operators import operators

_CHUNK = 1 << 24  # distances held at once by the torch path


def farthest_points(xyz: Tensor, count: int) -> Tensor:
    """Rows int64 (F, count) of points (F, N, 3) by farthest-point sampling, from row 0 on.

    Each next point is the one that is farthest from all before (PointNet++, Qi et al. 2017, section 3.2), so the first
    m of them are what sampling m points gives, also from among these points alone.
    """
    compiled = _compiled(xyz)
    if compiled is not None:
        return compiled.farthest_points(xyz.contiguous(), count)
    return farthest_points_torch(xyz, count)


def ball_query(xyz: Tensor, centres: Tensor, radii: list[float], neighbours: list[int]) -> list[Tensor]:
    """For each radius [m] the first K rows of points (F, N, 3) nearer than it to each centre (F, M, 3).

    int64 (F, M, K) each, in order of rows, filled up with the first of them as PointNet++ does; row 0 where there is
    none.
    """
    compiled = _compiled(xyz)
    if compiled is not None:
        return compiled.ball_query(xyz.contiguous(), centres.contiguous(), radii, neighbours)
    return ball_query_torch(xyz, centres, radii, neighbours)


def farthest_points_ragged(compiled: Any, xyz: Tensor, sizes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """:func:`farthest_points` in sets of unequal size, one after the other: ``sizes`` (F,) of the points (S, 3).

    Rows int64 (G,) of S, set by set, and how many of each set (F,): at most ``count``, and no place twice.
    """
    start = starts(sizes)
    rows, found = compiled.farthest_points_ragged(xyz.contiguous(), start, count)  # (F, count), (F,)
    kept = torch.arange(count) < found[:, None]
    return (rows + start[:-1, None])[kept], found


def ball_query_ragged(
    compiled: Any,
    xyz: Tensor,
    sizes: Tensor,
    centres: Tensor,
    counts: Tensor,
    radii: list[float],
    neighbours: list[int],
) -> list[Tensor]:
    """:func:`ball_query` in sets of unequal size, one after the other: ``sizes`` (F,) of the points (S, 3), and
    ``counts`` (F,) of the centres (G, 3).

    int64 (G, K) for each radius, rows of S.
    """
    start = starts(sizes)
    found = compiled.ball_query_ragged(xyz.contiguous(), start, centres.contiguous(), starts(counts), radii, neighbours)
    own = start[:-1].repeat_interleave(counts)[:, None]  # (G, 1)
    return [rows + own for rows in found]


def starts(sizes: Tensor) -> Tensor:
    """Where sets of these sizes (F,) start that follow one another, and where the last one ends: int64 (F + 1,)."""
    return torch.nn.functional.pad(sizes.cumsum(dim=0), (1, 0))


def points_of_boxes(xyz: Tensor, boxes: Tensor, frame: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Rows int64 (R, count) of the first points (F, N, 3) inside each box (R, 7) of frame (R,), and how many (R,).

    Fewer than ``count`` points are repeated in turn; the rows of an empty box are 0. The faces belong to the box.
    """
    compiled = _compiled(xyz)
    if compiled is not None:
        return compiled.points_of_boxes(xyz.contiguous(), boxes.contiguous(), frame, count)
    return points_of_boxes_torch(xyz, boxes, frame, count)


def farthest_points_torch(xyz: Tensor, count: int) -> Tensor:
    """:func:`farthest_points` in plain torch."""
    points = xyz.double()
    frames = torch.arange(len(xyz), device=xyz.device)
    rows = torch.zeros(len(xyz), count, dtype=torch.int64, device=xyz.device)
    distance = torch.full(xyz.shape[:2], torch.inf, dtype=torch.float64, device=xyz.device)
    row = torch.zeros_like(frames)
    for n in range(1, count):
        step = (points - points[frames, row][:, None]).square().sum(dim=2)  # (F, N)
        distance = torch.minimum(distance, step)
        row = (distance == distance.amax(dim=1, keepdim=True)).to(torch.int8).argmax(dim=1)
        rows[:, n] = row
    return rows


def ball_query_torch(xyz: Tensor, centres: Tensor, radii: list[float], neighbours: list[int]) -> list[Tensor]:
    """:func:`ball_query` in plain torch."""
    points = xyz.double()
    parts: list[list[Tensor]] = []
    for part in centres.double().split(max(1, _CHUNK // (3 * xyz.shape[0] * xyz.shape[1])), dim=1):
        distance = (part[:, :, None] - points[:, None]).square().sum(dim=3)  # (F, m, N)
        each = [first_rows(distance < r * r, k) for r, k in zip(radii, neighbours, strict=True)]
        parts.append([torch.where(torch.arange(rows.shape[2], device=rows.device) < found[..., None],
                                  rows, rows[..., :1]) for rows, found in each])  # fmt: skip
    return [torch.cat(rows, dim=1) for rows in zip(*parts, strict=True)]


def points_of_boxes_torch(xyz: Tensor, boxes: Tensor, frame: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """:func:`points_of_boxes` in plain torch."""
    points, box = xyz.double(), boxes.double()
    rows, filled = [], []
    for start in range(0, len(boxes), step := max(1, _CHUNK // (3 * xyz.shape[1]))):
        part = slice(start, start + step)
        own = points[frame[part]]  # (r, N, 3)
        along, across = box_offsets(own, box[part, None])  # (r, N) each
        up = (own[..., 2] - box[part, None, 2]).abs()
        length, width, height = (box[part, 3:6] / 2).unsqueeze(2).unbind(dim=1)  # (r, 1) each
        inside = (along <= length) & (across <= width) & (up <= height)
        first, found = first_rows(inside, count)
        turn = torch.arange(count, device=xyz.device) % found.clamp(min=1)[:, None]  # (r, count)
        rows.append(first.gather(1, turn))
        filled.append(found)
    if not rows:
        empty = torch.zeros(0, dtype=torch.int64, device=xyz.device)
        return empty.view(0, count), empty
    return torch.cat(rows), torch.cat(filled)


def first_rows(inside: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first ``count`` true columns of each row (..., N): int64 (..., count), 0 beyond; and how many they are."""
    width = inside.shape[-1]
    column = torch.where(inside, torch.arange(width, device=inside.device), width)
    first = column.topk(min(count, width), largest=False, sorted=True).values
    first = torch.nn.functional.pad(first, (0, count - first.shape[-1]), value=width)
    found = (first < width).sum(dim=-1)
    return torch.where(first < width, first, 0), found


def _compiled(xyz: Tensor) -> Any | None:
    """The compiled operators where they take these points."""
    return operators() if xyz.device.type == "cpu" and xyz.dtype == torch.float32 else None
