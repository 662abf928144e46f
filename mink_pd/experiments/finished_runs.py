"""Finished runs, read from their folders, and rows of runs: one setting over several seeds."""

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mink_pd.config import Config, flat, load_config
from mink_pd.distill.initialise import INHERITED
from mink_pd.errors import CheckpointError, DataError, MinkPDError
from mink_pd.experiments.matrix import figures
from mink_pd.files import read_text, reading
from mink_pd.registry import METHODS
from mink_pd.train.reporter import read_metrics
from mink_pd.train.run_folder import MOVABLE, PROCESSES, RunFolder, frames_a_step, identify, is_root

_ELSEWHERE = ("name", "runs", "seed", *MOVABLE, *PROCESSES)  # keys that do not distinguish rows


@dataclass
class Run:
    """A run that was validated after its last epoch."""

    folder: RunFolder
    config: Config
    teacher: str | None  # sha256 of its teacher's weights
    figures: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.figures = figures(self)

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        """Mean training metrics of each epoch, in order."""
        return [row for row in read_metrics(self.folder.metrics) if row["split"] == "train"]

    @cached_property
    def validations(self) -> list[dict[str, Any]]:
        """Figures of each validation, in order."""
        return [row for row in read_metrics(self.folder.metrics) if row["split"] == "val"]

    @cached_property
    def weights(self) -> str | None:
        """sha256 of its last weights; None if they are missing or unreadable."""
        try:
            return identify({"own": self.folder.weights("last")})["own"]["sha256"]
        except CheckpointError:
            return None

    @property
    def row(self) -> str:
        """Its name without the seed."""
        return self._row_of(self.folder.path)

    def _row_of(self, folder: Path) -> str:
        return re.sub(rf"-seed{self.config.seed}$", "", folder.name)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Dotted key -> value of the settings that distinguish rows. The sections of unused methods are left out."""
        keys = {key: value for key, value in flat(self.config).items() if key not in _ELSEWHERE and not is_root(key)}
        keys["train.batch_size"] = frames_a_step(self.config.train)
        if self.config.train.initial is not None:  # seeds of a row start from seeds of another
            keys["train.initial"] = self._row_of(self.config.train.initial)
        unused = set(METHODS) - set(self.config.distill.methods)
        return {
            key: value
            for key, value in keys.items()
            if not key.startswith("distill.") or (self.teacher is not None and key.split(".")[1] not in unused)
        }

    @property
    def commit(self) -> str:
        """The commit of the code at the start of the run."""
        return next(iter(self._facts("commit")), "unknown")

    @property
    def inherits(self) -> bool:
        """Whether the student started from a part of its teacher's weights."""
        return self.teacher is not None and (
            self.config.distill.initialise == "teacher" or INHERITED in self._facts("note")
        )

    def _facts(self, name: str) -> list[str]:
        """The values of the environment's lines ``name: value``."""
        try:
            lines = read_text(self.folder.environment).splitlines()
        except DataError:
            return []
        return [line.removeprefix(f"{name}: ") for line in lines if line.startswith(f"{name}: ")]


@dataclass(eq=False)
class Row:
    """Runs that differ only in their seed."""

    name: str
    runs: dict[int, Run]

    @property
    def first(self) -> Run:
        return next(iter(self.runs.values()))

    @property
    def taught(self) -> bool:
        return self.first.teacher is not None

    @property
    def control(self) -> str | None:
        """The control that replaced the teacher's features; None for the real teacher."""
        control = self.first.config.distill.control
        return control if self.taught and control != "none" else None

    @property
    def methods(self) -> str:
        return " + ".join(self.first.config.distill.methods) if self.taught else ""

    def part(self, distill: bool) -> dict[str, Any]:
        """The settings of distillation, or all others."""
        return {key: v for key, v in self.first.settings.items() if key.startswith("distill.") == distill}


def read_runs(paths: list[Path]) -> tuple[list[Run], list[str]]:
    """Finished runs in run folders or in folders of run folders, and one line for each run that is left out.

    Raises DataError for a path without run folders, or if no run is finished.
    """
    runs, left_out = [], []
    for folder in dict.fromkeys(folder.resolve() for path in paths for folder in _folders(path)):
        try:
            with reading(folder, DataError, "leave it out"):
                runs.append(_read(RunFolder(folder)))
        except MinkPDError as error:
            left_out.append(f"{folder.name}: {_short(str(error), folder)}")
    if not runs:
        raise DataError(f"{paths[0]}: no run there is finished ({left_out[0]}); let one finish first")
    return runs, left_out


def make_rows(runs: list[Run]) -> tuple[list[Row], list[str]]:
    """Group runs into rows, in the order in which their names first appear, and report duplicates."""
    rows: dict[str, Row] = {}
    twice = []
    for run in sorted(runs, key=lambda run: run.config.seed):
        row = rows.setdefault(json.dumps([run.row, run.settings], sort_keys=True), Row(run.row, {}))
        if run.config.seed in row.runs:
            twice.append(f"{run.folder}: the same settings and seed as {row.runs[run.config.seed].folder}")
        row.runs.setdefault(run.config.seed, run)
    named = sorted(rows.values(), key=lambda row: (row.taught, str(row.first.folder)))
    for row in named:
        if sum(other.first.row == row.name for other in named) > 1:  # of two experiments
            row.name = f"{row.first.folder.path.parent.name}/{row.name}"
    return named, twice


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; give run folders, or folders that hold them")
    if (path / "config.yaml").is_file():
        return [path]
    marks = ("config.yaml", "metrics.jsonl", "checkpoints")  # a damaged run may lack metrics
    found = sorted({child.parent for mark in marks for child in path.glob(f"*/{mark}")})
    if not found:
        raise DataError(f"{path}: no run folders in it (none has a config.yaml); give runs/NAME")
    return found


def _read(folder: RunFolder) -> Run:
    teacher = folder.read_files().get("teacher")
    run = Run(folder, load_config(folder.config), teacher["sha256"] if teacher else None)
    for row in (*run.epochs, *run.validations):  # read now what charts and tables need, while the folder is known
        check_figures(row, folder.metrics)
    return run


def check_figures(row: dict[str, Any], path: Path) -> None:
    """Raise DataError for a row of metrics with values that are not numbers."""
    for name, value in row.items():
        if name != "split" and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise DataError(f"{path}: '{name}' of epoch {row['epoch']} is {value!r}, not a number; remove the row")


def _short(text: str, folder: Path) -> str:
    """The text of an error without the folder, which the caller puts first."""
    return text.replace(f"{folder}/", "").removesuffix("; run it first")
