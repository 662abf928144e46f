"""Output of a training: a progress bar, one line per epoch, metrics.jsonl and TensorBoard events."""

import json
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from mink_pd.cli import console as standard
from mink_pd.errors import DataError
from mink_pd.files import append_line, read_text, write_text
from mink_pd.train.events import EventFile
from mink_pd.train.run_folder import RunFolder

TENSORBOARD_EVERY = 10  # steps
NOTHING_TO_FIND = "no figure: its frames hold no object of data.classes; validate on a split that does (data.val_split)"


class Reporter:
    """Reports of one training, written by the first process only (``active``).

    The bar is drawn on a terminal; elsewhere only the lines are printed. Use as a context manager.
    """

    def __init__(self, run: RunFolder, epochs: int, active: bool = True, console: Console = standard) -> None:
        self.run = run
        self.epochs = epochs
        self.active = active
        self.console = console
        self.events: EventFile | None = None
        self.progress: Progress | None = None

    def start(self, epoch: int, step: int, steps: int) -> None:
        """Begin after ``epoch`` epochs and ``step`` of ``steps`` steps; reports of later epochs are removed."""
        if not self.active:
            return
        keep_epochs(self.run.metrics, epoch)
        self.events = EventFile(self.run.path, step + 1 if step else None)
        if self.console.is_terminal:
            self.progress = _bar(self.console)
            self.task = self.progress.add_task("", total=steps, completed=step, text="")
            self.progress.start()

    def step(self, epoch: int, step: int, losses: dict[str, float], rate: float, learning_rate: float) -> None:
        """Report one optimiser step: ``losses`` of the last batch, ``rate`` in frames/s."""
        if self.progress is not None:
            text = f"{rate:.1f} frames/s  {_terms(losses)}"
            self.progress.update(self.task, completed=step, description=f"epoch {epoch}/{self.epochs}", text=text)
        if self.events is not None and step % TENSORBOARD_EVERY == 0:
            values = {f"train/{name}": value for name, value in losses.items()}
            self._scalars({**values, "train/learning_rate": learning_rate}, step)

    def epoch(self, epoch: int, step: int, means: dict[str, float], rate: float, seconds: float) -> None:
        """Report the end of an epoch: ``means`` over its batches."""
        if not self.active:
            return
        clock = {"frames_per_second": round(rate, 2), "seconds": round(seconds, 2)}
        self._append({"split": "train", "epoch": epoch, "step": step, **means, **clock})
        self._scalars(
            {f"epoch/{name}": value for name, value in means.items()} | {"epoch/frames_per_second": rate},
            step,
        )
        text = f"epoch {epoch}/{self.epochs}  {_terms(means)}  {rate:.1f} frames/s  {seconds:.0f} s"
        if "unlabelled/kept" in means:
            kept, ignored = means["unlabelled/kept"], means["unlabelled/ignored"]
            text += f"  an unlabelled frame: {kept:.1f} objects, {ignored:.1f} ignored"
        self.console.print(text, soft_wrap=True, markup=False)

    def validation(self, epoch: int, step: int, metrics: dict[str, float], best: bool, seconds: float) -> None:
        """Report the figures of a validation; ``best``: they are the best so far."""
        if not self.active:
            return
        self._append({"split": "val", "epoch": epoch, "step": step, **metrics, "seconds": round(seconds, 2)})
        self._scalars({f"val/{name}": value for name, value in metrics.items()}, step)
        means = "  ".join(f"{name} {value:.2f}" for name, value in metrics.items() if "/" not in name)
        text = f"epoch {epoch}/{self.epochs}  validation  {means or NOTHING_TO_FIND}" + "  (best)" * best
        self.console.print(text, soft_wrap=True, markup=False)

    def say(self, text: str) -> None:
        """Print one line of plain text."""
        if self.active:
            self.console.print(text, soft_wrap=True, markup=False)

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress is not None:
            self.progress.stop()
        if self.events is not None:
            self.events.close()

    def _append(self, row: dict) -> None:
        append_line(self.run.metrics, json.dumps(row))

    def _scalars(self, values: dict[str, float], step: int) -> None:
        if self.events is not None:
            self.events.add(values, step)


def read_metrics(path: Path) -> list[dict]:
    """The rows of a metrics.jsonl: objects with ``split`` and ``epoch``. An incomplete last line is ignored.

    Raises DataError naming the first damaged line.
    """
    lines = read_text(path).splitlines() if path.exists() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
            if number == len(lines):
                break
        if not (isinstance(row, dict) and isinstance(row.get("epoch"), int) and isinstance(row.get("split"), str)):
            raise DataError(f"{path}: line {number} is damaged; remove it, or the run")
        rows.append(row)
    return rows


def keep_epochs(path: Path, epoch: int) -> None:
    """Remove the rows after ``epoch`` from a metrics.jsonl; they will be written again."""
    if path.exists():
        write_text(path, "".join(json.dumps(row) + "\n" for row in read_metrics(path) if row["epoch"] <= epoch))


def _terms(losses: dict[str, float]) -> str:
    """The loss terms for display. Other logs have a slash in their name and go only to the files."""
    return "  ".join(f"{name} {value:.4g}" for name, value in losses.items() if "/" not in name)


def _bar(console: Console) -> Progress:
    """Format of the bar: epoch, bar, steps, time left, and the loss terms as far as they fit."""
    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=12, table_column=Column(no_wrap=True)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("left  {task.fields[text]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        console=console,
        transient=True,
        expand=True,
    )
