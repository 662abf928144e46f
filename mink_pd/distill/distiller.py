"""Teacher and student on one coordinate manager; the methods' losses beside the detection loss."""

from operator import attrgetter

import torch
from torch import Tensor, nn

from mink_pd.config import Config
from mink_pd.data.batch import Batch
from mink_pd.distill.pairs import pair_taps
from mink_pd.distill.pointdistiller import PointDistiller
from mink_pd.errors import ConfigError, DistillError
from mink_pd.models import Detector, Prediction, build_detector

METHODS: dict[str, type[PointDistiller]] = {"pointdistiller": PointDistiller}


class Distiller(nn.Module):
    """What is trained in distillation: the student and the methods' adapters, with the frozen teacher beside them.

    The teacher is in eval mode always and never in ``state_dict``; only ``detector``, the student, is exported.
    Raises ConfigError for an unknown method and DistillError for taps or geometry that teacher and student do not
    share.
    """

    def __init__(self, student: Detector, teacher: Detector, config: Config) -> None:
        super().__init__()
        check_geometry(student, teacher)
        self.detector = student
        self._outside = [teacher.eval().requires_grad_(False)]  # a list keeps modules out of state_dict
        if config.distill.random_teacher:
            control = build_detector(teacher.config)
            self._outside.append(control.eval().requires_grad_(False))
        channels = tap_channels(teacher, student)
        self.methods = nn.ModuleDict()
        self._taps: dict[str, list[str]] = {}
        for name in config.distill.methods:
            if name not in METHODS:
                raise ConfigError(f"distill.methods: unknown method '{name}'; choose from {', '.join(METHODS)}")
            settings = getattr(config.distill, name)
            missing = [tap for tap in settings.taps if tap not in channels]
            if missing:
                raise DistillError(f"distill.{name}.taps: no tap '{missing[0]}'; there are {', '.join(channels)}")
            self._taps[name] = settings.taps
            self.methods[name] = METHODS[name](settings, channels)

    def _apply(self, fn, recurse: bool = True):  # type: ignore[no-untyped-def]
        """Moves the teacher with the student (``to``, ``cuda``)."""
        for module in self._outside:
            module._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Loss terms, which are summed, and values to log."""
        voxels = self.detector.voxelise(batch)
        with torch.no_grad():
            guide, *control = (module(batch, voxels) for module in self._outside)
        student: Prediction = self.detector(batch, voxels)
        losses = self.detector.loss(student, batch)
        logs: dict[str, Tensor] = {}
        if len(voxels) == 0:
            return losses, logs
        teacher = control[0] if control else guide
        for name, method in self.methods.items():
            more, seen = method(pair_taps(self._taps[name], teacher, student, guide, batch))
            losses |= more
            logs |= seen
        return losses, logs


def check_geometry(student: Detector, teacher: Detector) -> None:
    """Raise DistillError where the two networks would not see the same voxels or points."""
    for key in ("data.range", "data.classes", "model.name", *student.geometry):
        ours, theirs = (attrgetter(key)(detector.config) for detector in (student, teacher))
        if ours != theirs:
            raise DistillError(f"{key} is {ours} for the student and {theirs} for the teacher; give both the same")


def tap_channels(teacher: Detector, student: Detector) -> dict[str, tuple[int, int]]:
    """Channels of each tap that both networks have: teacher's, student's."""
    theirs, ours = teacher.tap_channels(), student.tap_channels()
    return {name: (theirs[name], ours[name]) for name in theirs if name in ours}
