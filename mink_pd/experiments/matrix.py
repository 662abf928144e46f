"""A matrix of runs (several settings, each with several seeds) that can be resumed, and its table of results."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import Field, ValidationError
from rich import box
from rich.table import Column, Table
from scipy import stats

from mink_pd.config import Config, Section, assignment, load_config
from mink_pd.config.loader import make_section
from mink_pd.config.settings_yaml import read_yaml
from mink_pd.data import open_dataset, open_training
from mink_pd.errors import CheckpointError, ConfigError, DataError, MinkPDError
from mink_pd.models.checkpoint import checkpoint_file
from mink_pd.train.reporter import read_metrics
from mink_pd.train.run_folder import RunFolder, identify
from mink_pd.train.start import distil, train_detector
from mink_pd.train.unlabelled import identify_frames, open_unlabelled

_PLACE = re.compile(r"\$\{(\w+)\}")  # where ``set`` has a text of the fold


class RunSpec(Section):
    """One row of the matrix: overrides of the configuration, and the row with which it is compared."""

    config: Path | None = None  # instead of the matrix's configuration
    set: list[str] = Field(default_factory=list)
    teacher: str | None = None  # the run of the teacher; None: trained alone
    once: bool = False  # train only the first seed, which serves all other runs, as for a teacher
    against: str | None = None  # the run over which the gain is computed, paired by seed


class Matrix(Section):
    """The content of a YAML file in configs/experiments.

    folder: for the run folders, below the folder for runs. Matrices with the same folder share runs with the same name.
    folds: fold -> texts by name. Every run is repeated for each fold; in ``set``, ``${fold}`` is replaced by the fold's
    name and ``${NAME}`` by its text. The detections of the folds are scored together (mink_pd/experiments/pooling.py).
    groups: CSV file with the columns frame and group in ``data.root``, such as the drive of each frame. No fold may
    train on a group on which it is evaluated, and intervals come from a bootstrap over groups. None: over frames.
    metrics: the columns of the table; none: the benchmark's main figures. With folds, ``FIGURE@IOU`` is a figure of
    a class at another IoU.
    """

    config: Path
    folder: str = ""  # default: the name of the file
    set: list[str] = Field(default_factory=list)  # overrides for all runs
    folds: dict[str, dict[str, str]] = Field(default_factory=dict)
    groups: str | None = None
    metrics: list[str] = Field(default_factory=list)
    runs: dict[str, RunSpec]

    def filled(self, text: str, fold: str | None) -> str:
        """A text of ``set`` with the fold's texts. Raises ConfigError for a name that the fold lacks."""
        texts = {} if fold is None else {"fold": fold, **self.folds[fold]}

        def text_of(match: re.Match[str]) -> str:
            if match[1] not in texts:
                where = "a matrix without folds" if fold is None else f"fold '{fold}'"
                raise ConfigError(f"'{text}': {where} gives no ${{{match[1]}}}; add it to 'folds'")
            return texts[match[1]]

        return _PLACE.sub(text_of, text)


@dataclass(frozen=True)
class Job:
    """One training."""

    run: str  # its name in the matrix
    seed: int
    config: Config
    teacher: RunFolder | None  # the run of its teacher
    force: bool = False  # whether it may replace a run with other settings
    fold: str | None = None

    @property
    def folder(self) -> RunFolder:
        return RunFolder.of(self.config)


def load_matrix(path: Path) -> Matrix:
    """Read a matrix. Raises ConfigError naming the file and key."""
    tree = read_yaml(path)
    try:
        matrix = make_section(Matrix, tree)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{path}: '{'.'.join(map(str, first['loc']))}': {first['msg']}") from None
    for fold in matrix.folds:
        if not re.fullmatch(r"[\w.-]+", fold):
            raise ConfigError(
                f"{path}: 'folds': '{fold}' becomes a part of folders' names; use letters, digits, _ and -"
            )
    for name, spec in matrix.runs.items():
        for other in (spec.teacher, spec.against):
            if other is not None and other not in matrix.runs:
                raise ConfigError(f"{path}: run '{name}' names '{other}', which is not a run of the matrix")
    matrix.config = path.parent / matrix.config
    for spec in matrix.runs.values():
        spec.config = spec.config and path.parent / spec.config
    matrix.folder = matrix.folder or path.stem
    return matrix


def plan(matrix: Matrix, seeds: list[int], folder: Path, overrides: list[str], force: bool = False) -> list[Job]:
    """All trainings of a matrix, with run folders in ``folder``, fold by fold; every teacher comes before its
    students.
    """

    def job(name: str, seed: int, fold: str | None) -> Job:
        spec = matrix.runs[name]
        seed = seeds[0] if spec.once else seed
        run = f"{name}-seed{seed}" if fold is None else f"{name}-{fold}-seed{seed}"
        changes = [assignment("runs", folder), assignment("name", run), f"seed={seed}"]
        own = [matrix.filled(text, fold) for text in (*matrix.set, *overrides, *spec.set)]
        config = load_config(spec.config or matrix.config, [*own, *changes])
        teacher = None if spec.teacher is None else job(spec.teacher, seed, fold).folder
        return Job(name, seed, config, teacher, force, fold)

    names = sorted(matrix.runs, key=lambda name: matrix.runs[name].teacher is not None)
    jobs = [job(name, seed, fold) for seed in seeds for fold in matrix.folds or [None] for name in names]
    return list({str(item.folder): item for item in jobs}.values())


def execute(job: Job) -> None:
    """Train, resume an interrupted run, or do nothing if the run is done.

    Raises ConfigError if the folder holds a run with other settings, teacher or data, unless ``job.force``.
    """
    teacher = _teacher_file(job)
    other = _difference(job, teacher)
    if other is not None and job.folder.has_weights and not job.force:
        raise ConfigError(f"{other.partition(';')[0]}; --force trains it again, --runs chooses another folder")
    same = other is None
    if teacher is None:
        train_detector(job.config, resume=same, force=not same)
    else:
        distil(job.config, teacher, resume=same, force=not same)


def is_finished(job: Job) -> bool:
    """Whether ``execute`` would have nothing to do."""
    if not job.folder.exists:
        return False
    try:
        return job.folder.epochs_done() >= job.config.train.epochs and _difference(job, _teacher_file(job)) is None
    except MinkPDError:  # the training itself will report it
        return False


def missing_frames(jobs: list[Job]) -> dict[str, str]:
    """Why the frames of trainings that are not done cannot be opened (run folder -> one line)."""
    missing: dict[str, str] = {}
    for job in jobs:
        if is_done(job):
            continue
        try:
            open_dataset(job.config.data, job.config.data.val_split)
            if open_unlabelled(job.config) is None or job.teacher is None:
                open_training(job.config.data)
        except MinkPDError as error:
            missing[str(job.folder)] = str(error)
    return missing


def _teacher_file(job: Job) -> Path | None:
    """The teacher's weights. Raises CheckpointError if the teacher has not been trained."""
    if job.teacher is None:
        return None
    if not job.teacher.exists:
        raise CheckpointError(f"{job.teacher}: no such run folder; train the teacher of {job.run} first")
    return checkpoint_file(job.teacher.path)


def _difference(job: Job, teacher: Path | None) -> str | None:
    """How the run in the folder, finished or not, differs from this training; None if it does not."""
    files = identify({} if teacher is None else {"teacher": teacher})
    unlabelled = None if teacher is None else open_unlabelled(job.config)
    return job.folder.difference(job.config, files) or job.folder.difference(
        job.config, files | identify_frames(job.config, unlabelled)
    )


def other_run(job: Job) -> str | None:
    """How a finished run in the folder differs from this training, as far as can be told without reading the data."""
    teacher = job.teacher.weights("last") if job.teacher else None
    if not job.folder.config.is_file() or (teacher and not teacher.is_file()):
        return None
    try:
        return job.folder.difference(job.config, identify({} if teacher is None else {"teacher": teacher}))
    except MinkPDError as error:
        return str(error)


def counts(job: Job) -> bool:
    """Whether a table may contain the run: it is done, and was trained with these settings."""
    return is_done(job) and other_run(job) is None


class Training(Protocol):
    """Anything with a run folder and its settings."""

    @property
    def folder(self) -> RunFolder: ...

    @property
    def config(self) -> Config: ...


def is_done(job: Training) -> bool:
    """Whether the run has been validated after its last epoch."""
    try:
        figures(job)
    except DataError:
        return False
    return True


def figures(job: Training) -> dict[str, float]:
    """Metrics of the validation after the last epoch. Raises DataError if the run has none."""
    for row in reversed(read_metrics(job.folder.metrics)):
        if row["split"] == "val" and row["epoch"] == job.config.train.epochs:
            return {key: value for key, value in row.items() if isinstance(value, float | int)}
    raise DataError(f"{job.folder.metrics}: has no validation of epoch {job.config.train.epochs}; run it first")


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval (Student's t); nan for a single value."""
    if len(values) < 2:
        return float(np.mean(values)), float("nan")
    spread = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1)) * spread


def compare(matrix: Matrix, jobs: list[Job], metrics: list[str]) -> Table:
    """A table of mean and 95 % interval over the seeds, with the gain over ``against``, paired by seed.

    Runs that are not done or were trained with other settings are left out. The column ``seeds`` gives the number of
    runs.
    """
    found = {(job.run, job.seed): figures(job) for job in jobs if counts(job)}
    titles = [*metrics, *(f"gain {metric}" for metric in metrics)]
    # Without rules, four figures with their intervals fit into 80 columns.
    table = Table(Column("run", no_wrap=True), "seeds", *titles, box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for name, spec in matrix.runs.items():
        seeds = [seed for run, seed in found if run == name]
        if not seeds:
            continue
        cells = [_plus_minus([found[name, seed][metric] for seed in seeds]) for metric in metrics]
        for metric in metrics:
            gains = [
                found[name, seed][metric] - other[metric]
                for seed in seeds
                if (other := _partner(found, spec.against, seed)) is not None
            ]
            cells.append(_plus_minus(gains, sign=True) if gains else "")
        table.add_row(name, str(len(seeds)), *cells)
    return table


def _partner(found: dict[tuple[str, int], dict[str, float]], run: str | None, seed: int) -> dict[str, float] | None:
    """The other run's figures at this seed, or its only ones if it runs once."""
    others = {key: value for key, value in found.items() if key[0] == run}
    only = next(iter(others.values())) if len(others) == 1 else None
    return others.get((run or "", seed), only)


def _plus_minus(values: list[float], sign: bool = False) -> str:
    mean, half = interval(values)
    text = f"{mean:+.1f}" if sign else f"{mean:.1f}"
    return text if np.isnan(half) else f"{text} ± {half:.1f}"
