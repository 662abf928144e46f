"""A matrix of runs (several settings, each with several seeds) that can be resumed, and its table of results."""

import re
from dataclasses import dataclass, replace
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
    initial: str | None = None  # the run from whose weights it starts
    shared: bool = False  # trained once for all folds, without ``set_fold``
    once: bool = False  # train only the first seed, which serves all other runs, as for a teacher
    against: str | None = None  # the run over which the gain is computed, paired by seed

    @property
    def sources(self) -> list[str]:
        """The runs that must be trained first."""
        return [name for name in (self.teacher, self.initial) if name is not None]


class Matrix(Section):
    """The content of a YAML file in configs/experiments.

    folder: for the run folders, below the folder for runs. Matrices with the same folder share runs with the same name.
    folds: fold -> texts by name. Every run that is not ``shared`` is repeated for each fold; in ``set``, ``${fold}`` is
    replaced by the fold's name and ``${NAME}`` by its text. The detections of the folds are scored together
    (mink_pd/experiments/pooling.py).
    groups: CSV file with the columns frame and group in ``data.root``, such as the drive of each frame. No fold may
    train on a group on which it is evaluated, and intervals come from a bootstrap over groups. None: over frames.
    metrics: the columns of the table; none: the benchmark's main figures. With folds, ``FIGURE@IOU`` is a figure of
    a class at another IoU.
    """

    config: Path
    folder: str = ""  # default: the name of the file
    set: list[str] = Field(default_factory=list)  # overrides for all runs
    set_fold: list[str] = Field(default_factory=list)  # further ones, for the runs of a fold
    folds: dict[str, dict[str, str]] = Field(default_factory=dict)
    groups: str | None = None
    metrics: list[str] = Field(default_factory=list)
    runs: dict[str, RunSpec]

    def filled(self, text: str, fold: str | None) -> str:
        """A text of ``set`` with the fold's texts. Raises ConfigError for a name that the fold lacks."""
        texts = {} if fold is None else {"fold": fold, **self.folds[fold]}

        def text_of(match: re.Match[str]) -> str:
            if match[1] not in texts:
                none = "a run for all folds" if self.folds else "a matrix without folds"
                where = none if fold is None else f"fold '{fold}'"
                remedy = "write it to 'set_fold'" if fold is None and self.folds else "add it to 'folds'"
                raise ConfigError(f"'{text}': {where} gives no ${{{match[1]}}}; {remedy}")
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
    initial: RunFolder | None = None  # the run from whose weights it starts

    @property
    def folder(self) -> RunFolder:
        return RunFolder.of(self.config)

    @property
    def sources(self) -> dict[str, RunFolder]:
        """The runs that must be trained first, under the names by which a run folder records their weights."""
        found = {"teacher": self.teacher, "initial": self.initial}
        return {name: folder for name, folder in found.items() if folder is not None}


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
    if matrix.set_fold and not matrix.folds:
        raise ConfigError(f"{path}: 'set_fold' is for the runs of folds, and 'folds' is empty; write it to 'set'")
    _check_runs(matrix, path)
    matrix.config = path.parent / matrix.config
    for spec in matrix.runs.values():
        spec.config = spec.config and path.parent / spec.config
    matrix.folder = matrix.folder or path.stem
    return matrix


def _check_runs(matrix: Matrix, path: Path) -> None:
    """Raise ConfigError for a run that names one that is missing, that needs itself, or that it cannot follow."""
    for name, spec in matrix.runs.items():
        for other in (*spec.sources, spec.against):
            if other is not None and other not in matrix.runs:
                raise ConfigError(f"{path}: run '{name}' names '{other}', which is not a run of the matrix")
        for other in spec.sources:
            if spec.shared and matrix.folds and not matrix.runs[other].shared:
                raise ConfigError(
                    f"{path}: run '{name}' serves all folds, but '{other}' is of one fold; 'shared: true' for both"
                )
        if name in _needed(matrix, name):
            raise ConfigError(f"{path}: run '{name}' needs itself, by 'teacher' or 'initial'")


def _needed(matrix: Matrix, name: str) -> set[str]:
    """The runs that must be trained before a run."""
    found: set[str] = set()
    queue = list(matrix.runs[name].sources)
    while queue:
        other = queue.pop()
        if other in matrix.runs and other not in found:
            found.add(other)
            queue += matrix.runs[other].sources
    return found


def plan(matrix: Matrix, seeds: list[int], folder: Path, overrides: list[str], force: bool = False) -> list[Job]:
    """All trainings of a matrix, with run folders in ``folder``, fold by fold; a run comes after what it needs."""

    def job(name: str, seed: int, fold: str | None) -> Job:
        spec = matrix.runs[name]
        seed = seeds[0] if spec.once else seed
        fold = None if spec.shared else fold
        run = f"{name}-seed{seed}" if fold is None else f"{name}-{fold}-seed{seed}"
        changes = [assignment("runs", folder), assignment("name", run), f"seed={seed}"]
        teacher, initial = (
            None if other is None else job(other, seed, fold).folder for other in (spec.teacher, spec.initial)
        )
        if initial is not None:
            changes.append(assignment("train.initial", initial.path))
        folds = [] if fold is None else matrix.set_fold
        own = [matrix.filled(text, fold) for text in (*matrix.set, *folds, *overrides, *spec.set)]
        config = load_config(spec.config or matrix.config, [*own, *changes])
        return Job(name, seed, config, teacher, force, fold, initial)

    names = sorted(matrix.runs, key=lambda name: len(_needed(matrix, name)))
    jobs = [job(name, seed, fold) for seed in seeds for fold in matrix.folds or [None] for name in names]
    unique = {str(item.folder): item for item in jobs}.values()
    folders = {item.folder.path.resolve(): item.folder for item in unique}
    return [_after_initial(item, folders) for item in unique]


def _after_initial(job: Job, folders: dict[Path, RunFolder]) -> Job:
    """The job, to be run after the one in whose folder its ``train.initial`` lies, as if its row had named that run."""
    if job.config.train.initial is None or job.initial is not None:
        return job
    start = job.config.train.initial.resolve()
    named = next((folders[path] for path in (start, *start.parents) if path in folders), None)
    return job if named is None else replace(job, initial=named)


def execute(job: Job) -> None:
    """Train, resume an interrupted run, or do nothing if the run is done.

    Raises ConfigError if the folder holds a run with other settings, teacher or data, unless ``job.force``.
    """
    sources = _source_files(job)
    other = _difference(job, sources)
    if other is not None and job.folder.has_weights and not job.force:
        raise ConfigError(f"{other.partition(';')[0]}; --force trains it again, --runs chooses another folder")
    same = other is None
    if "teacher" in sources:
        distil(job.config, sources["teacher"], resume=same, force=not same)
    else:
        train_detector(job.config, resume=same, force=not same)


def is_finished(job: Job) -> bool:
    """Whether ``execute`` would have nothing to do."""
    if not job.folder.exists:
        return False
    try:
        return job.folder.epochs_done() >= job.config.train.epochs and _difference(job, _source_files(job)) is None
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


def _source_files(job: Job) -> dict[str, Path]:
    """The weights of the runs that it needs. Raises CheckpointError if one has not been trained."""
    for name, folder in job.sources.items():
        if not folder.exists:
            what = "the teacher" if name == "teacher" else "the initial weights"
            raise CheckpointError(f"{folder}: no such run folder; train {what} of {job.run} first")
    return _all_sources(job, {name: checkpoint_file(folder.path) for name, folder in job.sources.items()})


def _all_sources(job: Job, files: dict[str, Path]) -> dict[str, Path]:
    """``files`` of the matrix's runs, and the weights that ``train.initial`` names where no run of the matrix does."""
    if job.initial is None and job.config.train.initial is not None:
        return files | {"initial": checkpoint_file(job.config.train.initial)}
    return files


def _difference(job: Job, sources: dict[str, Path]) -> str | None:
    """How the run in the folder, finished or not, differs from this training; None if it does not."""
    files = identify(sources)
    unlabelled = open_unlabelled(job.config) if "teacher" in sources else None
    return job.folder.difference(job.config, files) or job.folder.difference(
        job.config, files | identify_frames(job.config, unlabelled)
    )


def other_run(job: Job) -> str | None:
    """How a finished run in the folder differs from this training, as far as can be told without reading the data."""
    files = {name: folder.weights("last") for name, folder in job.sources.items()}
    if not job.folder.config.is_file() or not all(file.is_file() for file in files.values()):
        return None
    try:
        return job.folder.difference(job.config, identify(_all_sources(job, files)))
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
        cells = [_plus_minus([found[name, seed].get(metric, np.nan) for seed in seeds]) for metric in metrics]
        for metric in metrics:
            gains = [
                found[name, seed].get(metric, np.nan) - other.get(metric, np.nan)
                for seed in seeds
                if (other := _partner(matrix, found, spec.against, seed)) is not None
            ]
            cells.append(_plus_minus(gains, sign=True) if gains else "")
        table.add_row(name, str(len(seeds)), *cells)
    return table


def _partner(
    matrix: Matrix, found: dict[tuple[str, int], dict[str, float]], run: str | None, seed: int
) -> dict[str, float] | None:
    """The other run's figures at this seed, or its only ones if it runs once."""
    if run is None:
        return None
    only = next((value for key, value in found.items() if key[0] == run), None) if matrix.runs[run].once else None
    return found.get((run, seed), only)


def _plus_minus(values: list[float], sign: bool = False) -> str:
    mean, half = interval(values)
    if np.isnan(mean):  # a figure that a run lacks
        return "-"
    text = f"{mean:+.1f}" if sign else f"{mean:.1f}"
    return text if np.isnan(half) else f"{text} ± {half:.1f}"
