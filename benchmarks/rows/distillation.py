"""PointDistiller's loss, a step of distillation, and two networks on one coordinate manager."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.agreement import GRADIENT_TOLERANCE, same
from benchmarks.harness import Pair, Side
from benchmarks.inputs import Inputs
from benchmarks.rows.published import published_loss
from benchmarks.rows.row import Row
from benchmarks.thread_counts import OURS
from mink_pd.config import Config
from mink_pd.config.models import PointPillarsConfig
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import Batch
from mink_pd.distill import Distiller
from mink_pd.distill.importance import select
from mink_pd.distill.methods.pointdistiller import PointDistillerConfig
from mink_pd.distill.methods.pointdistiller.method import PointDistiller, weights
from mink_pd.distill.pairs import TapPair
from mink_pd.models import Detector, build_detector
from mink_pd.models.taps import SiteTap
from mink_pd.sparse import knn, multiplies_bf16, voxelise
from mink_pd.train.objective import DetectionObjective, Objective
from mink_pd.train.optimiser import make_optimiser

TAP, TEACHER_CHANNELS, STUDENT_CHANNELS = "pillars", 64, 32
PER_FRAME = 40.0  # target of a training step of the 4x student [ms per frame]
ALL_ROUND = (-69.12, -39.68, -3.0, 69.12, 39.68, 1.0)  # PointPillars' range, and as much behind the car [m]


class Compared:
    """A frame's pillars with features of a teacher and a student, and both forms of the loss on them.

    Importance, selection, weights and nearest neighbours use the same code in both. Only the graph differs.
    """

    def __init__(self, inputs: Inputs, device: str = "cpu") -> None:
        sizes = inputs.sizes
        self.settings = PointDistillerConfig(
            taps=[TAP], rows=sizes.selected, neighbours=sizes.neighbours, importance="points",
            teacher_adapter="trained",
        )  # fmt: skip
        torch.manual_seed(0)
        self.method = PointDistiller("pointdistiller", self.settings, {TAP: (TEACHER_CHANNELS, STUDENT_CHANNELS)})
        self.method.to(device)
        points = torch.from_numpy(inputs.sweep).to(device)
        frame = torch.zeros(len(points), dtype=torch.int64, device=device)
        model = inputs.config.model
        assert isinstance(model, PointPillarsConfig)
        self.voxels = voxelise(points, frame, 1, model.voxel_size, ALL_ROUND, dimensions=2)
        rows = len(self.voxels)
        self.teacher = torch.rand(rows, TEACHER_CHANNELS).to(device)
        self.student = torch.rand(rows, STUDENT_CHANNELS).to(device).requires_grad_()
        self.batch = Batch(points, frame, [points.new_zeros(0, 7)], [frame[:0]], [Frame("sweep", inputs.sweep)])
        self.maps = [_linear_map(adapters) for adapters in (self.method.teacher, self.method.student)]

    def ours(self) -> Tensor:
        """One forward and backward through the method as the distiller calls it."""
        self.forget()
        losses, _ = self.method([self.pair()])
        return self.finish(sum(losses.values(), torch.zeros(())))

    def published(self) -> Tensor:
        self.forget()
        pair = self.pair()
        score = pair.importance(self.settings.importance)  # (M,)
        (selected,) = select(score, pair.teacher.frame, 1, self.settings.rows)  # (N,)
        centres = pair.teacher.centres  # (M, 2)
        near = knn(centres[selected], centres, self.settings.neighbours)  # (N, K)
        phi = weights(score, [selected], self.settings)  # (N,)
        loss = published_loss(pair.teacher.features, pair.student.features, near, phi, *self.maps)
        return self.finish(self.settings.weight * loss)

    def pair(self) -> TapPair:
        teacher, student = (SiteTap(self.voxels.tensor(x), self.voxels) for x in (self.teacher, self.student))
        return TapPair(TAP, teacher, student, {TAP: teacher}, self.batch)

    def forget(self) -> None:
        self.student.grad = None
        self.method.zero_grad(set_to_none=True)

    @staticmethod
    def finish(loss: Tensor) -> Tensor:
        loss.backward()
        return loss.detach()

    def check(self) -> None:
        results: list[Any] = []
        for work in (self.ours, self.published):
            loss = work()
            assert self.student.grad is not None
            results.append((loss, self.student.grad, [x.grad for x in self.maps]))
        (loss, of_student, of_maps), (loss2, of_student2, of_maps2) = results
        same(loss, loss2, "losses")
        for a, b in zip([of_student, *of_maps], [of_student2, *of_maps2], strict=True):
            same(a, b, "gradients", GRADIENT_TOLERANCE)


def _linear_map(adapters: nn.Module) -> Tensor:
    """The adapter's (C', 2C) matrix."""
    return next(parameter for parameter in adapters.parameters() if parameter.dim() == 2)


def pointdistiller_loss(inputs: Inputs) -> Pair:
    compared = Compared(inputs)
    sizes, rows = inputs.sizes, len(compared.voxels)
    note = f"N {sizes.selected}, K {sizes.neighbours}, {rows} pillars of a full turn of {sizes.sweep} points"
    ours, peer = Side(compared.ours, OURS), Side(compared.published, OURS)
    return Pair(ours, peer, compared.check, memory=1 / 4, notes=[note])


def student_config(config: Config, compression: float = 4) -> Config:
    """The same with a smaller network."""
    model = config.model.model_copy(update={"compression": compression})
    return config.model_copy(update={"model": model})


def with_bf16_teacher(config: Config) -> Config:
    """The same with a teacher that runs in bfloat16."""
    distill = config.distill.model_copy(update={"teacher_precision": "bf16"})
    return config.model_copy(update={"distill": distill})


def networks(inputs: Inputs) -> tuple[Detector, Detector]:
    """Teacher and 4x student."""
    torch.manual_seed(0)
    return build_detector(inputs.config), build_detector(student_config(inputs.config))


class Step:
    """One training step as the loop does it: loss, backward, clipped gradients, optimiser."""

    def __init__(self, objective: Objective, config: Config) -> None:
        self.objective, self.settings = objective, config.train
        self.parameters = list(objective.parameters())
        self.optimiser = make_optimiser(self.parameters, config.train)

    def __call__(self, batch: Batch) -> float:
        terms, _ = self.objective(batch)  # type: ignore[operator]
        total = sum(terms.values())
        self.backward(total)
        self.clip()
        self.optimiser.step()
        self.optimiser.zero_grad()
        return float(total.detach())

    def backward(self, total: Tensor) -> None:
        total.backward()

    def clip(self) -> None:
        nn.utils.clip_grad_norm_(self.parameters, self.settings.max_grad_norm)


def distillation_step(inputs: Inputs, bf16_teacher: bool = False) -> Pair:
    """Both students learn during these runs, which does not change the cost of a step."""
    teacher, student = networks(inputs)
    alone = networks(inputs)[1]
    batch = inputs.batch(inputs.sizes.batch)
    config = student_config(inputs.config)
    own = with_bf16_teacher(config) if bf16_teacher else config
    ours = Side(partial(Step(Distiller(student, teacher, own).train(), own), batch), OURS)
    if bf16_teacher and not multiplies_bf16():
        return Pair(ours, None, notes=["this processor has no bfloat16 instructions"])
    plain = Step(DetectionObjective(alone).train(), config)
    note = f"{len(batch)} frames a step, teacher, loss and optimiser included; PointDistiller's default settings"
    return Pair(ours, Side(partial(plain, batch), OURS), notes=[note])


def student_step(inputs: Inputs) -> Pair:
    """Loss, backward, clipping and optimiser; reading and augmenting the frames is not part of it."""
    batch, config = inputs.batch(inputs.sizes.batch), student_config(inputs.config)
    step = Step(DetectionObjective(networks(inputs)[1]).train(), config)
    notes = [f"{len(batch)} frames a step"]
    return Pair(Side(partial(step, batch), OURS), PER_FRAME * len(batch), notes=notes)


def shared_maps(inputs: Inputs) -> Pair:
    teacher, student = (network.eval() for network in networks(inputs))
    batch = inputs.batch()

    @torch.inference_mode()
    def together() -> list[Tensor]:
        voxels = teacher.shared_input(batch)
        return [network(batch, voxels).scores for network in (teacher, student)]

    @torch.inference_mode()
    def apart() -> list[Tensor]:
        return [network(batch, network.shared_input(batch)).scores for network in (teacher, student)]

    def check() -> None:
        for ours, theirs in zip(together(), apart(), strict=True):
            same(ours, theirs, "scores")

    return Pair(Side(together, OURS), Side(apart, OURS), check, notes=["forward in eval mode, one frame"])


ROWS = [
    Row("pointdistiller-loss", "PointDistiller's loss, forward and backward", "the published formulation", 4.0,
        pointdistiller_loss),
    Row("distillation-step", "one distillation step of the 4x student", "one plain training step of it",
        round(1 / 1.4, 2), distillation_step),
    Row("distillation-step-bf16", "the same with distill.teacher_precision=bf16", "one plain training step of it",
        round(1 / 1.4, 2), partial(distillation_step, bf16_teacher=True)),
    Row("student-step", "one training step of the 4x student", f"{PER_FRAME:.0f} ms per frame", 1.0, student_step),
    Row("shared-maps", "teacher and 4x student, forward, on one manager", "the same on separate managers", None,
        shared_maps),
]  # fmt: skip
