"""Pairs of taps: one of the teacher and one of the student on the same coordinate map."""

from dataclasses import dataclass

from torch import Tensor

from mink_pd.data.batch import Batch
from mink_pd.distill.importance import importance
from mink_pd.errors import DistillError
from mink_pd.models import Prediction
from mink_pd.models.taps import Tap


@dataclass
class TapPair:
    """Features of teacher (M, C_t) and student (M, C_s); row i of both is the same place.

    guide: the taps from which importance is computed. They are the teacher's own, except under the control with a
    random teacher, which keeps the real teacher's importance.
    """

    name: str
    teacher: Tap
    student: Tap
    guide: dict[str, Tap]
    batch: Batch

    def importance(self, kind: str) -> Tensor:
        """(M,)"""
        return importance(kind, self.name, self.guide)


def pair_taps(
    names: list[str], teacher: Prediction, student: Prediction, guide: Prediction, batch: Batch
) -> list[TapPair]:
    """Pair the taps of these names. Raises DistillError naming the tap that is missing or on another coordinate map."""
    pairs = []
    for name in names:
        for who, prediction in (("teacher", teacher), ("student", student)):
            if name not in prediction.taps:
                raise DistillError(f"the {who} has no tap '{name}'; it has {', '.join(prediction.taps)}")
        ours, theirs = student.taps[name], teacher.taps[name]
        if not ours.shares_rows(theirs):
            raise DistillError(
                f"tap '{name}': teacher {theirs} and student {ours} lie on different coordinate maps; "
                "give both the same voxel size or points, strides and kernels"
            )
        pairs.append(TapPair(name, theirs, ours, guide.taps, batch))
    return pairs
