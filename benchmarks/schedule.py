"""Hours of the full KITTI schedule for the teacher, the 4x student and the distilled student, from steps in turn."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich import box
from rich.table import Table

from benchmarks.inputs import Inputs
from benchmarks.rows.distillation import Step, networks, student_config, with_bf16_teacher
from benchmarks.thread_counts import OURS
from mink_pd.config import Config
from mink_pd.data.loading.batch import collate
from mink_pd.distill import Distiller
from mink_pd.memory import keep_memory
from mink_pd.sparse import multiplies_bf16
from mink_pd.train.objective import DetectionObjective, Objective

FRAMES, EPOCHS = 3712, 80  # KITTI's training split (Chen et al. 2015), and the length of the published schedules
BATCHES = 4  # different ones, in turn
WARM_UP = 2  # steps that are not counted


@dataclass
class Schedule:
    """Wall time and processor time of each counted step [ms], and the steps of the whole schedule.

    share: of the schedule's steps that are like these; the others are plain steps of the student (``distill.until``).
    """

    name: str
    steps: int
    share: float = 1.0
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def hours(self, milliseconds: list[float], plain: list[float]) -> float:
        """Of the whole schedule, at the means of these steps and of the student's ``plain`` ones."""
        taught, other = (sum(each) / len(each) for each in (milliseconds, plain))
        return self.steps * (self.share * taught + (1 - self.share) * other) / 3.6e6


def schedules(inputs: Inputs, steps: int, advance: Callable[[], object] = lambda: None) -> list[Schedule]:
    """``steps`` steps of each training, turn by turn; reading and augmenting the frames is not part of a step."""
    keep_memory()
    size = inputs.sizes.batch
    batches = [
        collate([inputs.frame(size * number + index) for index in range(size)], inputs.config.data.classes)
        for number in range(BATCHES)
    ]
    config = student_config(inputs.config)
    teacher, student = networks(inputs)
    (trained, distilled), again = networks(inputs), networks(inputs)[1]
    objectives: dict[str, tuple[Objective, Config]] = {
        "teacher": (DetectionObjective(trained), inputs.config),
        "4x student": (DetectionObjective(student), config),
        "4x student, distilled": (Distiller(distilled, teacher, config), config),
    }
    if multiplies_bf16():
        rounded = with_bf16_teacher(config)
        objectives["4x student, distilled, teacher in bf16"] = (Distiller(again, teacher, rounded), rounded)
    work = [
        (
            Schedule(name, FRAMES * EPOCHS // size, own.distill.until if isinstance(one, Distiller) else 1.0),
            Step(one.train(), own),
        )
        for name, (one, own) in objectives.items()
    ]
    with OURS.applied():
        for turn in range(WARM_UP + steps):
            for schedule, step in work:
                wall, processor = time.perf_counter(), time.process_time()
                step(batches[turn % BATCHES])
                if turn >= WARM_UP:
                    schedule.wall.append(1e3 * (time.perf_counter() - wall))
                    schedule.processor.append(1e3 * (time.process_time() - processor))
            advance()
    return [schedule for schedule, _ in work]


def table(found: list[Schedule], what: str) -> Table:
    """One line a training; ``ratio`` is its processor time over that of the student alone."""
    result = Table(title=what, title_justify="left", box=box.MARKDOWN)
    for name in ("training", "ms a step", "processor time [ms]", "ratio", "hours", "hours of processor time"):
        result.add_column(name, justify="left" if name == "training" else "right")
    plain = found[1]  # the student alone
    for one in found:
        wall, processor = (sum(each) / len(each) for each in (one.wall, one.processor))
        hours = (one.hours(one.wall, plain.wall), one.hours(one.processor, plain.processor))
        ratio = sum(one.processor) / sum(plain.processor)
        result.add_row(one.name, f"{wall:.0f}", f"{processor:.0f}", f"{ratio:.2f}", *(f"{each:.1f}" for each in hours))
    return result
