"""Progress and remaining time of a matrix of trainings: bars on a terminal, otherwise one line per run."""

import time
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from mink_pd.errors import DataError
from mink_pd.experiments.matrix import Job, figures, is_done
from mink_pd.train.reporter import read_metrics

REFRESH = 1.0  # interval between two reads of the run folders [s]


class Pace:
    """Seconds per epoch of the matrix's runs, from their metrics.jsonl (including validation)."""

    def __init__(self, wanted: list[Job]) -> None:
        self.wanted = wanted
        self.epochs: dict[str, int] = {}  # run folder -> epochs done
        self.seconds: dict[str, float] = {}  # run folder -> seconds per epoch, if it has one

    def read(self, job: Job) -> None:
        """Read the progress of a run."""
        name = str(job.folder)
        try:
            rows = read_metrics(job.folder.metrics)
        except DataError:  # the training itself will report it
            rows = []
        self.epochs[name] = max((row["epoch"] for row in rows if row["split"] == "train"), default=0)
        seconds = sum(row.get("seconds", 0.0) for row in rows)
        if self.epochs[name] and seconds:
            self.seconds[name] = seconds / self.epochs[name]

    def left(self, unfinished: list[Job], jobs: int) -> float | None:
        """Estimated seconds until all are done, ``jobs`` at a time; None until a run has finished an epoch."""
        if not self.seconds:
            return None
        times = [
            self._epoch(job) * (job.config.train.epochs - self.epochs.get(str(job.folder), 0)) for job in unfinished
        ]
        return max(sum(times) / jobs, max(times, default=0.0))

    def _epoch(self, job: Job) -> float:
        """Seconds per epoch of the most similar runs that are known: this run, the same row with other seeds, all
        runs that have (or lack) a teacher like this one, or all runs.
        """
        taught = job.teacher is not None
        alike = [
            [other for other in self.wanted if other.folder.path == job.folder.path],
            [other for other in self.wanted if other.run == job.run],
            [other for other in self.wanted if (other.teacher is not None) == taught],
            self.wanted,
        ]
        known = ([self.seconds[str(one.folder)] for one in group if str(one.folder) in self.seconds] for group in alike)
        return float(np.mean(next(values for values in known if values)))


class MatrixProgress:
    """Shows the runs of a matrix as they start and end; a context manager."""

    def __init__(self, wanted: list[Job], jobs: int, console: Console) -> None:
        self.wanted, self.jobs, self.console = wanted, jobs, console
        self.pace = Pace(wanted)
        self.unfinished = {str(job.folder): job for job in wanted}
        self.running: dict[str, TaskID] = {}
        self.looked = 0.0
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[text]}"),
            console=console,
            transient=True,
            refresh_per_second=2,
            disable=not console.is_terminal,
        )
        epochs = sum(job.config.train.epochs for job in wanted)
        self.all = self.bars.add_task("all runs", total=epochs, text="")

    def found(self, job: Job) -> None:
        """Show a run that an earlier call has finished."""
        self.pace.read(job)
        del self.unfinished[str(job.folder)]
        self._line(f"{job.folder}: already done{_outcome(job)}")

    def started(self, job: Job) -> None:
        """Show that a training has started."""
        name = str(job.folder)
        self.running[name] = self.bars.add_task(job.folder.path.name, total=job.config.train.epochs, text="")
        if not self.console.is_terminal:
            self._line(f"{name}: started")

    def ended(self, job: Job, failure: str | None) -> None:
        """Show that a training has ended or will not start. failure: the reason; None if it is done."""
        name = str(job.folder)
        self.pace.read(job)
        del self.unfinished[name]
        if name in self.running:
            self.bars.remove_task(self.running.pop(name))
        self._line(f"{name}: done{_outcome(job)}" if failure is None else f"{name}: failed: {failure}")

    def update(self) -> None:
        """Read the active runs and redraw, at most once per interval."""
        if not self.console.is_terminal or time.monotonic() - self.looked < REFRESH:
            return
        self.looked = time.monotonic()
        for name, task in self.running.items():
            self.pace.read(self.unfinished[name])
            epochs, done = self.unfinished[name].config.train.epochs, self.pace.epochs[name]
            self.bars.update(task, completed=done, text=f"{done} of {epochs} epochs")
        rest = sum(job.config.train.epochs - self.pace.epochs.get(name, 0) for name, job in self.unfinished.items())
        total = self.bars.tasks[0].total or 0
        self.bars.update(self.all, completed=total - rest, text=self._left())

    def _left(self) -> str:
        """``5 of 12 runs, about 40 min left``."""
        counts = f"{len(self.wanted) - len(self.unfinished)} of {len(self.wanted)} runs"
        left = self.pace.left(list(self.unfinished.values()), self.jobs)
        return counts if left is None or not self.unfinished else f"{counts}, about {duration(left)} left"

    def _line(self, text: str) -> None:
        self.console.print(f"{text}  ({self._left()})", soft_wrap=True, markup=False)

    def __enter__(self) -> "MatrixProgress":
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()


def duration(seconds: float) -> str:
    """Formatted for display: ``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _outcome(job: Job) -> str:
    """The mean figures of a run, if its last epoch was validated."""
    if not is_done(job):
        return ""
    return "".join(f"  {name} {value:.2f}" for name, value in figures(job).items() if name.startswith("mAP"))
