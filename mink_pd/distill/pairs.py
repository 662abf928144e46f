"""Pairs of taps: one of the teacher and one of the student at the same locations.

Networks that see the same points work on one coordinate map, so their rows are the same locations. Where the
teacher sees more points, the student's sites are among the teacher's: a lookup of coordinates gives the rows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mink_pd.data.loading.batch import Batch
from mink_pd.distill.importance import STUDENT, importance, tap_of
from mink_pd.errors import DistillError
from mink_pd.models import Prediction
from mink_pd.models.taps import RowsTap, Tap


@dataclass
class TapPair:
    """Features of teacher (M, C_t) and student (M, C_s); row i of both is the same location.

    guide: the taps from which importance is computed. They are the teacher's own, except under the control with a
    random teacher, which keeps the real teacher's importance, and the student's as ``student/NAME`` where its rows are
    the teacher's. rows: int64 (M,), which of the guide's rows these are; None: all of them, in order.
    """

    name: str
    teacher: Tap
    student: Tap
    guide: dict[str, Tap]
    batch: Batch
    rows: Tensor | None = None

    def importance(self, kind: str) -> Tensor:
        """(M,)"""
        return self._chosen(importance(kind, self.name, self.guide))

    def scores(self) -> Tensor:
        """The guide's class logits (M, A classes), for pairs of the head's taps."""
        return self._chosen(tap_of("scores", self.guide).features)

    def _chosen(self, values: Tensor) -> Tensor:
        return values if self.rows is None else values[self.rows]


def pair_taps(
    names: list[str], teacher: Prediction, student: Prediction, guide: Prediction, batch: Batch
) -> list[TapPair]:
    """Pair the taps of these names, at the student's sites where the teacher sees more points (``batch.teacher``).

    Raises DistillError naming the tap that is missing or cannot be paired.
    """
    pairs = []
    both = guide.taps | {f"{STUDENT}{name}": tap for name, tap in student.taps.items()}
    for name in names:
        for who, prediction in (("teacher", teacher), ("student", student)):
            if name not in prediction.taps:
                raise DistillError(f"the {who} has no tap '{name}'; it has {', '.join(prediction.taps)}")
        ours, theirs = student.taps[name], teacher.taps[name]
        if batch.teacher is not None:
            pairs.append(_pair_common_rows(name, theirs, ours, guide, batch))
            continue
        if not ours.shares_rows(theirs):
            raise DistillError(
                f"tap '{name}': teacher {theirs} and student {ours} lie on different coordinate maps; "
                "give both the same voxel size or points, strides and kernels"
            )
        pairs.append(TapPair(name, theirs, ours, both, batch))
    return pairs


def _pair_common_rows(name: str, theirs: Tap, ours: Tap, guide: Prediction, batch: Batch) -> TapPair:
    """The student's rows that the teacher has too, in the student's order. Raises DistillError if there is none."""
    rows = theirs.rows_at(ours)
    if rows is None or not (rows >= 0).any():
        raise DistillError(
            f"tap '{name}': no site of the student ({ours}) is one of the teacher's ({theirs}); give both the same"
            " strides and kernels, or set distill.teacher_points=student"
        )
    if (rows < 0).any():
        common = torch.nonzero(rows >= 0)[:, 0]
        ours, rows = RowsTap(ours, common), rows[common]
    return TapPair(name, RowsTap(theirs, rows), ours, guide.taps, batch, rows)
