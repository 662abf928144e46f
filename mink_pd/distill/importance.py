"""Importance of voxels: how much each should weigh in distillation (PointDistiller, Zhang et al. 2023, section 3.2)."""

from typing import Literal

import torch
from torch import Tensor

from mink_pd.errors import DistillError
from mink_pd.sparse import Tap

Importance = Literal["points", "channel_max", "score"]


def importance(kind: Importance, name: str, taps: dict[str, Tap]) -> Tensor:
    """Importance >= 0 (M,) of each row of the teacher's tap ``name``.

    points: how many points lie in the cell; channel_max: the largest channel of the teacher's feature; score: the
    teacher's highest class score in the cell. Raises DistillError where the teacher lacks the tap it takes.
    """
    tap = tap_of(name, taps)
    if kind == "channel_max":
        return tap.features.amax(dim=1).clamp(min=0)
    if kind == "points":
        voxels = tap.voxels
        counts = voxels.counts.to(tap.features.dtype)
        return pool(counts, voxels.coordinates, 1, tap.coordinates, tap.stride, "sum")
    scores = tap_of("scores", taps)
    highest = torch.sigmoid(scores.features.amax(dim=1))  # (S,)
    return pool(highest, scores.coordinates, scores.stride, tap.coordinates, tap.stride, "amax")


def pool(values: Tensor, source: Tensor, source_stride: int, target: Tensor, target_stride: int, how: str) -> Tensor:
    """Carry values (S,) at sites ``source`` (S, 1 + D) to sites ``target`` (M, 1 + D) of another stride.

    Values that share the coarser of the two cells are joined by ``how`` (sum, amax); a target without any gets 0.
    """
    stride = max(source_stride, target_stride)
    codes = cell_codes(torch.cat([source, target]), stride)
    have, group = torch.unique(codes[: len(source)], return_inverse=True)
    joined = values.new_zeros(len(have)).scatter_reduce(0, group, values, how, include_self=False)
    wanted = codes[len(source) :]
    place = torch.searchsorted(have, wanted).clamp(max=len(have) - 1)
    return torch.where(have[place] == wanted, joined[place], 0)


def select(values: Tensor, frame: Tensor, frames: int, rows: int) -> list[Tensor]:
    """The ``rows`` most important rows (int64) of each frame, most important first; all where a frame has fewer."""
    chosen = []
    for index in range(frames):
        here = torch.nonzero(frame == index)[:, 0]
        chosen.append(here[values[here].topk(min(rows, len(here))).indices])
    return chosen


def inside_share(centres: Tensor, boxes: Tensor) -> Tensor:
    """Share of places (n, 2+) that lie inside any box (B, 7), seen from above; 0 where there is no place."""
    if len(centres) == 0 or len(boxes) == 0:
        return centres.new_zeros(())
    offset = centres[:, None, :2] - boxes[None, :, :2]  # (n, B, 2)
    cos, sin = torch.cos(boxes[:, 6]), torch.sin(boxes[:, 6])
    along = (offset[..., 0] * cos + offset[..., 1] * sin).abs() <= boxes[:, 3] / 2
    across = (offset[..., 1] * cos - offset[..., 0] * sin).abs() <= boxes[:, 4] / 2
    return (along & across).any(dim=1).to(centres.dtype).mean()


def cell_codes(coordinates: Tensor, stride: int) -> Tensor:
    """One number (M,) int64 for the cell of edge ``stride`` that each coordinate (M, 1 + D) >= 0 lies in."""
    code = coordinates[:, 0].long()
    for axis in range(1, coordinates.shape[1]):
        cell = torch.div(coordinates[:, axis], stride, rounding_mode="floor").long()
        code = code * (cell.max() + 1) + cell
    return code


def tap_of(name: str, taps: dict[str, Tap]) -> Tap:
    """The teacher's tap of that name. Raises DistillError if it has none."""
    if name not in taps:
        raise DistillError(f"the teacher has no tap '{name}'; it has {', '.join(taps)}")
    return taps[name]
