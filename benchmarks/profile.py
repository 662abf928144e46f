"""Where the time of a training step, a detection or a distillation step goes, by stage."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, Literal

from rich import box
from rich.table import Table

from benchmarks.inputs import Inputs
from benchmarks.rows.detectors import detect, ready
from benchmarks.rows.distillation import Step, networks, student_config
from benchmarks.thread_counts import OURS
from mink_pd.distill import Distiller
from mink_pd.models import Detector
from mink_pd.train.objective import DetectionObjective

Kind = Literal["train", "detect", "distil"]
REST = "everything else"


class Stopwatch:
    """Seconds by stage. The time of a nested stage counts only for that stage, so that the shares add up."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []  # time of the stages within each open stage

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside the context."""
        start = self.clock()
        self._inner.append(0.0)
        try:
            yield
        finally:
            taken = self.clock() - start
            inner = self._inner.pop()
            self.seconds[name] = self.seconds.get(name, 0.0) + taken - inner
            if self._inner:
                self._inner[-1] += taken

    @contextmanager
    def around(self, owner: Any, attribute: str, name: str) -> Iterator[None]:
        """Time every call of a function of an object or module. The original function is restored afterwards."""
        call = getattr(owner, attribute)
        own = attribute in vars(owner)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.stage(name):
                return call(*arguments, **named)

        setattr(owner, attribute, timed)
        try:
            yield
        finally:
            setattr(owner, attribute, call) if own else delattr(owner, attribute)


def profile(kind: Kind, inputs: Inputs, repeats: int, warm_up: int = 2) -> dict[str, float]:
    """Milliseconds of one step (or detection) by stage, mean of ``repeats``. The stages add up to the whole."""
    with OURS.applied():
        work, stages = _prepare(kind, inputs)
        for _ in range(warm_up):
            work()
        watch = Stopwatch()
        with ExitStack() as patches:
            for owner, attribute, name in stages:
                patches.enter_context(watch.around(owner, attribute, name))
            for _ in range(repeats):
                with watch.stage(REST):
                    work()
    rest = watch.seconds.pop(REST)
    return {name: 1e3 * seconds / repeats for name, seconds in [*watch.seconds.items(), (REST, rest)]}


def _prepare(kind: Kind, inputs: Inputs) -> tuple[Callable[[], Any], list[tuple[Any, str, str]]]:
    """The work to time, with the functions that are its stages."""
    if kind == "detect":
        batch = inputs.batch()
        detector = ready(inputs.config, batch, inputs.sizes.candidates)
        decode = import_module("mink_pd.models.heads.anchor_decode")
        ends = [(detector, "detect", "decode"), (decode, "suppress", "NMS")]
        return lambda: detect(detector, batch), [*_parts(detector), *ends]
    batch, (teacher, student) = inputs.batch(inputs.sizes.batch), networks(inputs)
    if kind == "train":
        step = Step(DetectionObjective(teacher).train(), inputs.config)
        return lambda: step(batch), [*_parts(teacher), *_learning(teacher, step)]
    config = student_config(inputs.config)
    distiller = Distiller(student, teacher, config).train()
    step = Step(distiller, config)
    graph = import_module("mink_pd.distill.methods.pointdistiller.graph")
    return lambda: step(batch), [
        *((owner, name, stage if owner is student else f"student: {stage}") for owner, name, stage in _parts(student)),
        (teacher, "forward", "teacher"),
        *((method, "forward", f"{name}: loss") for name, method in distiller.methods.items()),
        (graph, "knn", "nearest neighbours"),
        *_learning(student, step),
    ]  # fmt: skip


def _parts(detector: Detector) -> list[tuple[Any, str, str]]:
    """The shared input (voxels or sampled points) and the modules of a detector, under their own names."""
    return [
        (detector, "shared_input", "shared input"),
        *((part, "forward", name) for name, part in detector.named_children()),
    ]


def _learning(detector: Detector, step: Step) -> list[tuple[Any, str, str]]:
    return [
        (detector, "loss", "detection loss and matching"),
        (step, "backward", "backward"),
        (step, "clip", "clipping of gradients"),
        (step.optimiser, "step", "optimiser"),
    ]


def table(kind: Kind, milliseconds: dict[str, float], what: str) -> Table:
    """A table of the stages and their shares, in the order in which they first end."""
    total = sum(milliseconds.values())
    result = Table(title=f"{kind}: {total:.1f} ms, {what}", title_justify="left", box=box.MARKDOWN)
    result.add_column("stage")
    result.add_column("ms", justify="right")
    result.add_column("share", justify="right")
    for name, value in milliseconds.items():
        result.add_row(name, f"{value:.2f}", f"{100 * value / total:.1f} %")
    return result
