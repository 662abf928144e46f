"""Teacher and student on the same frames: the methods' losses are added to the detection loss.

They share one coordinate manager, unless the teacher sees points that the student does not see (``data.beams``).
"""

import math
from operator import attrgetter

import torch
from torch import Tensor, nn

from mink_pd.config import Config, DataConfig
from mink_pd.data.loading.batch import Batch
from mink_pd.distill.controls import averaged, shuffled
from mink_pd.distill.importance import STUDENT, needs_student
from mink_pd.distill.initialise import first_weights
from mink_pd.distill.labels import with_teacher_labels
from mink_pd.distill.methods import Method
from mink_pd.distill.pairs import pair_taps
from mink_pd.distill.unlabelled import PseudoLabels
from mink_pd.errors import DistillError
from mink_pd.models import Detections, Detector, Prediction
from mink_pd.models.agreement import other_points
from mink_pd.models.heads.box_layout import BoxLayout
from mink_pd.registry import DETECTORS, IMPORTANCES, METHODS
from mink_pd.sparse import multiplies_bf16
from mink_pd.sparse.norm import synchronise


class Distiller(nn.Module):
    """The module that distillation trains: the student and the methods' adapters, together with the frozen teacher.

    The teacher always stays in eval mode and out of ``state_dict``; only ``detector``, the student, is exported.
    teacher_data: the teacher's settings of the data where it sees more points than the student; None: both see the
    same. Raises ConfigError for an unknown method and DistillError for taps or geometry that teacher and student do
    not share, or where the student's rows could not be found among the teacher's.
    """

    def __init__(
        self, student: Detector, teacher: Detector, config: Config, pseudo_labels: PseudoLabels | None = None
    ) -> None:
        """``pseudo_labels``: what labels the unlabelled frames of a batch; None: all frames are labelled."""
        super().__init__()
        check_geometry(student, teacher)
        self.teacher_data = sees_more(student, teacher, config)
        self.detector = student
        self.control = config.distill.control
        self._outside = [teacher.eval().requires_grad_(False)]  # a list keeps modules out of state_dict
        if self.control in ("random", "averaged"):
            share = config.distill.control_share if self.control == "averaged" else 0.0
            self._outside.append(averaged(teacher, share))
        if config.train.sync_norm:  # the loop synchronises the student and the methods
            for module in self._outside:
                synchronise(module)
        self.notes = first_weights(student, self._outside[-1], config)
        layout = check_heads(student, teacher)
        self.labels, self.label_score = config.distill.labels, config.distill.label_score
        self.taught_epochs, self.teaches = taught_epochs(config), True
        if config.distill.methods and self.taught_epochs < config.train.epochs:
            taught = f"{self.taught_epochs} of {config.train.epochs} epochs"
            self.notes.append(
                f"methods ({', '.join(config.distill.methods)}) teach in the first {taught} (distill.until)"
            )
        self.rounds = config.distill.teacher_precision == "bf16"
        if self.rounds and not (multiplies_bf16() or torch.cuda.is_available()):
            self.notes.append(
                "distill.teacher_precision=bf16 has no effect on sparse layers here: a CPU needs AVX512_BF16 for it"
            )
        self.pseudo_labels = pseudo_labels
        if pseudo_labels is not None:
            check_ignores(student)
        self.methods = nn.ModuleDict()
        self._taps: dict[str, list[str]] = {}
        for name in config.distill.methods:
            method: type[Method] = METHODS[name]
            settings = config.distill.section(name)
            key, taps = f"distill.{name}.taps", settings.taps
            if taps is None:
                key, taps = "distill.taps", config.distill.taps
            channels = tap_channels(key, taps, teacher, student)
            if hasattr(settings, "importance"):
                check_importance(f"distill.{name}.importance", settings.importance, teacher, student)
                if self.teacher_data is not None and needs_student(settings.importance):
                    raise DistillError(
                        f"distill.{name}.importance: {settings.importance} compares teacher and student, which see"
                        " different points; choose another, or set distill.teacher_points=student"
                    )
            self._taps[name] = list(channels)
            made = method(name, settings, channels)
            made.attach(layout)
            self.methods[name] = made
        read = {tap: name for name, taps in self._taps.items() for tap in taps}
        for tap in {"scores", "boxes"} & read.keys():
            check_coding(f"distill.methods: {read[tap]} compares {tap}", student, teacher)

    def _apply(self, fn, recurse: bool = True):  # type: ignore[no-untyped-def]
        """Moves the teacher with the student (``to``, ``cuda``)."""
        for module in self._outside:
            module._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def begin_epoch(self, epoch: int) -> None:
        """The methods teach in the first ``taught_epochs``."""
        self.teaches = epoch <= self.taught_epochs

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Loss terms, whose sum is the loss, and values to log."""
        shared = self.detector.shared_input(batch)
        methods = list(self.methods.items()) if self.teaches else []
        if not methods and self.pseudo_labels is None and self.labels == "ground_truth":
            return self.detector.loss(self.detector(batch, shared), batch), {}  # the teacher is not needed
        whole, of_whole = batch, shared
        if batch.teacher is not None:
            whole, of_whole = batch.teacher, self.detector.shared_input(batch.teacher)
        device = batch.points.device.type
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=self.rounds):
            guide, *others = (module(whole, of_whole) for module in self._outside)
        student: Prediction = self.detector(batch, shared)
        teacher = others[0] if others else guide
        logs: dict[str, Tensor] = {}
        labelled = [frame.labelled for frame in batch.frames]
        if self.pseudo_labels is not None:
            batch, logs = self.pseudo_labels(batch, self._outside[0].detect(guide))
        objects = batch
        if self.labels == "teacher":
            none = Detections.none(batch.points.device)
            found = self._outside[-1].detect(teacher)
            shown = [each if own else none for each, own in zip(found, labelled, strict=True)]
            objects = with_teacher_labels(batch, shown, self.label_score)
        losses = self.detector.loss(student, objects)
        if len(shared) == 0:
            return losses, logs
        orders: list[tuple[Tensor, Tensor]] = []
        for name, method in methods:
            with torch.autocast(device, enabled=False):
                pairs = pair_taps(self._taps[name], teacher, student, guide, batch)
                more, seen = method(shuffled(pairs, orders) if self.control == "shuffled" else pairs)
            losses |= more
            logs |= seen
        return losses, logs


def taught_epochs(config: Config) -> int:
    """In how many epochs, from the first, the methods teach (``distill.until``)."""
    return math.ceil(round(config.distill.until * config.train.epochs, 6))  # 0.1 * 30 is a little more than 3


def check_geometry(student: Detector, teacher: Detector) -> None:
    """Raise DistillError where the two networks would not see the same voxels or points, or where the points would not
    mean to the teacher what they meant in its training."""
    values = [
        (key, *map(attrgetter(key), (student.config, teacher.config))) for key in ("model.name", *student.geometry)
    ]
    for key, ours, theirs in [*other_points(student.config, teacher.config), *values]:
        if ours != theirs:
            raise DistillError(f"{key} is {ours} for the student and {theirs} for the teacher; give both the same")


def check_ignores(student: Detector) -> None:
    """Raise DistillError for a detector whose loss cannot leave out boxes that may or may not be objects."""
    if not student.ignores:
        able = ", ".join(name for name, one in DETECTORS.items() if one.ignores)
        raise DistillError(
            f"distill.unlabelled: the loss of {student.config.model.name} cannot ignore doubtful boxes; leave"
            f" distill.unlabelled.paths empty, or choose one of {able}"
        )


def sees_more(student: Detector, teacher: Detector, config: Config) -> DataConfig | None:
    """The teacher's settings of the data where it is to see more points than the student. Raises DistillError for a
    detector whose rows are no sites: those of fewer points are not among those of more."""
    data = config.data
    at_random = data.augment.enabled and data.augment.beams is not None
    if config.distill.teacher_points == "student" or (not at_random and data.beams == teacher.config.data.beams):
        return None
    if not student.rows_are_sites:
        raise DistillError(
            f"{config.model.name} samples its points, so its rows in a thinned cloud are not the teacher's in the whole"
            " one; set distill.teacher_points=student, or distil a detector with pillars or voxels"
        )
    return teacher.config.data


def check_heads(student: Detector, teacher: Detector) -> BoxLayout | None:
    """How to read both heads' boxes. Raises DistillError where the two are to be read differently."""
    ours, theirs = student.box_layout(), teacher.box_layout()
    if ours != theirs:
        raise DistillError("the heads of student and teacher differ; give both the same classes, and anchors or tasks")
    return theirs


def check_coding(reason: str, student: Detector, teacher: Detector) -> None:
    """Raise DistillError where equal numbers of the two heads would mean other boxes.

    reason: why these must agree.
    """
    ours, theirs = student.box_coding(), teacher.box_coding()
    for key in ours:
        if ours[key] != theirs.get(key):
            raise DistillError(f"{reason}, and {key} differs between student and teacher; give both the same {key}")


def check_importance(key: str, kind: str, teacher: Detector, student: Detector) -> None:
    """Raise DistillError if teacher or student lacks a tap that the importance of the setting ``key`` reads."""
    for name in getattr(IMPORTANCES[kind], "taps", []):
        owner = student if name.startswith(STUDENT) else teacher
        tap_channels(key, [name.removeprefix(STUDENT)], owner, owner)


def tap_channels(key: str, taps: list[str], teacher: Detector, student: Detector) -> dict[str, tuple[int, int]]:
    """Channels (teacher's, student's) of each tap that the setting ``key`` lists.

    Raises DistillError for a tap that one of them lacks.
    """
    theirs, ours = teacher.tap_channels(), student.tap_channels()
    both = [tap for tap in theirs if tap in ours]
    missing = [tap for tap in taps if tap not in both]
    if missing:
        raise DistillError(f"{key}: no tap '{missing[0]}'; there are {', '.join(both)}")
    return {tap: (theirs[tap], ours[tap]) for tap in taps}
