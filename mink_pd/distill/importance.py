"""How much each voxel or point should weigh in distillation (PointDistiller, Zhang et al. 2023, section 3.2).

An importance is a function of the teacher's tap and of all its taps, registered by name. Its docstring is its title in
pictures; its attribute ``taps``, if it has one, lists other taps that it reads. Among them may be the student's,
as ``student/NAME``, whose rows are those of the teacher's ``NAME``.
"""

import torch
from torch import Tensor

from mink_pd.boxes.offsets import box_offsets
from mink_pd.errors import DistillError
from mink_pd.models.taps import Tap
from mink_pd.registry import IMPORTANCES

STUDENT = "student/"  # prefix of the student's taps


@IMPORTANCES.register("points")
def points_in_cell(tap: Tap, taps: dict[str, Tap]) -> Tensor:
    """number of points in the cell"""
    return tap.counts()


@IMPORTANCES.register("channel_max")
def largest_channel(tap: Tap, taps: dict[str, Tap]) -> Tensor:
    """largest channel of the teacher's feature"""
    return tap.largest.clamp(min=0)


@IMPORTANCES.register("score")
def class_score(tap: Tap, taps: dict[str, Tap]) -> Tensor:
    """teacher's highest class score"""
    scores = tap_of("scores", taps)
    return scores.carry(torch.sigmoid(scores.largest), tap)


class_score.taps = ["scores"]  # type: ignore[attr-defined]  # which a teacher must have, checked before training


@IMPORTANCES.register("disagreement")
def score_difference(tap: Tap, taps: dict[str, Tap]) -> Tensor:
    """largest difference between the class scores of teacher and student

    Where the student is wrong, as the teacher sees it (after the disparity of RDD, Li et al., ICCV 2023).
    """
    theirs, ours = tap_of("scores", taps), tap_of(f"{STUDENT}scores", taps)
    difference = torch.sigmoid(theirs.features) - torch.sigmoid(ours.features.detach())  # (M, A classes)
    return theirs.carry(difference.abs().amax(dim=1), tap)


score_difference.taps = ["scores", f"{STUDENT}scores"]  # type: ignore[attr-defined]


def needs_student(kind: str) -> bool:
    """Whether an importance reads taps of the student."""
    return any(name.startswith(STUDENT) for name in getattr(IMPORTANCES[kind], "taps", []))


def importance(kind: str, name: str, taps: dict[str, Tap]) -> Tensor:
    """Importance >= 0 (M,) of each row of the teacher's tap ``name``; ``kind`` names an entry of IMPORTANCES.

    Raises DistillError where the teacher lacks a tap that it needs.
    """
    return IMPORTANCES[kind](tap_of(name, taps), taps)


def importance_title(kind: str) -> str:
    """What an importance measures, in a few words for pictures: the first line of its function's docstring."""
    return (IMPORTANCES[kind].__doc__ or kind).strip().splitlines()[0].rstrip(".")


def select(values: Tensor, frame: Tensor, frames: int, rows: int) -> list[Tensor]:
    """The ``rows`` most important rows (int64) of each frame, most important first; all where a frame has fewer."""
    chosen = []
    for index in range(frames):
        here = torch.nonzero(frame == index)[:, 0]
        chosen.append(here[values[here].topk(min(rows, len(here))).indices])
    return chosen


def inside_share(centres: Tensor, boxes: Tensor) -> Tensor:
    """Share of positions (n, 2+) inside any box (B, 7), seen from above; 0 if there are no positions."""
    if len(centres) == 0 or len(boxes) == 0:
        return centres.new_zeros(())
    along, across = box_offsets(centres[:, None], boxes)  # (n, B) each
    inside = (along <= boxes[:, 3] / 2) & (across <= boxes[:, 4] / 2)
    return inside.any(dim=1).to(centres.dtype).mean()


def tap_of(name: str, taps: dict[str, Tap]) -> Tap:
    """The teacher's tap of that name. Raises DistillError if it has none."""
    if name not in taps:
        raise DistillError(f"the teacher has no tap '{name}'; it has {', '.join(taps)}")
    return taps[name]
