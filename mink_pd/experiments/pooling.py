"""Cross-validation: the detections of a row's folds, scored together, so that every frame is judged once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.table import Table

from mink_pd.config import Config
from mink_pd.data import open_dataset
from mink_pd.errors import ConfigError
from mink_pd.evaluate.scorers import Kept, make_scorer, scorer_of
from mink_pd.experiments.bootstrap import RESAMPLES, Interval, Scored, over_seeds, score_resamples
from mink_pd.experiments.folds import read_groups
from mink_pd.experiments.matrix import Job, Matrix, counts
from mink_pd.train.validate import lay_out


@dataclass(frozen=True)
class Figure:
    """A column of the table: a figure of the scorer and, if it is a class's at another IoU, that IoU."""

    title: str
    name: str
    iou: float | None = None

    @classmethod
    def of(cls, text: str, config: Config) -> "Figure":
        """``Car/3d/moderate`` or ``Car/3d/moderate@0.5``. Raises ConfigError for a figure that the scorer lacks."""
        name, _, iou = text.partition("@")
        scorer, classes = scorer_of(config), config.data.classes
        if name not in scorer.figures(classes):
            raise ConfigError(f"metric '{text}': there is no figure of that name; write {scorer.examples}")
        if not iou:
            return cls(text, name)
        try:
            value = float(iou)
        except ValueError:
            value = -1.0
        if not 0 <= value < 1 or name.split("/")[0] not in classes:
            raise ConfigError(f"metric '{text}': write CLASS/FIGURE@IOU with an IoU from 0 to below 1")
        return cls(text, name, value)

    def settings(self, config: Config) -> Config:
        """The settings of a scorer that scores no more than this figure needs."""
        owner = self.name.split("/")[0]
        classes = [owner] if owner in config.data.classes else config.data.classes
        min_iou = {name: iou for name, iou in config.evaluate.min_iou.items() if name in classes}
        if self.iou is not None:
            min_iou[owner] = self.iou
        evaluate = config.evaluate.model_copy(update={"min_iou": min_iou})
        return config.model_copy(
            update={"evaluate": evaluate, "data": config.data.model_copy(update={"classes": classes})}
        )


class Pool:
    """The finished runs of a matrix with folds, and their figures over all folds.

    groups: frame -> group, the unit of the bootstrap.
    """

    def __init__(
        self, matrix: Matrix, jobs: list[Job], figures: list[Figure], groups: Mapping[str, str], resamples: int
    ) -> None:
        self.matrix, self.figures, self.groups, self.resamples = matrix, figures, groups, resamples
        self.jobs = {(job.run, job.seed, job.fold or ""): job for job in jobs}
        self._kept: dict[str, Kept] = {}
        self._scored: dict[tuple[str, int, tuple[str, ...]], Scored] = {}

    def folds(self, row: str, seed: int) -> tuple[str, ...]:
        """The folds that a row has finished with this seed; one without a name if it serves all folds."""
        wanted = [""] if self.matrix.runs[row].shared else self.matrix.folds
        return tuple(fold for fold in wanted if (row, seed, fold) in self.jobs)

    def seeds(self, row: str) -> list[int]:
        """The seeds of a row that have finished the same folds, as many as possible; the others do not count yet."""
        done = {seed: self.folds(row, seed) for name, seed, _ in sorted(self.jobs) if name == row}
        most = max(done.values(), key=len, default=())
        return [seed for seed, folds in done.items() if folds == most]

    def value(self, row: str, column: int) -> Interval:
        """A figure of a row over all its folds."""
        return over_seeds([self._score(row, seed, self.folds(row, seed)) for seed in self.seeds(row)], column)

    def gain(self, row: str, over: str | None, column: int) -> Interval | None:
        """The difference of two rows on the folds that both have finished, paired by seed; None if there is none.

        A row that runs once is compared with every seed of the other.
        """
        if over is None:
            return None
        others, once = self.seeds(over), self.matrix.runs[over].once
        differences = []
        for seed in self.seeds(row):
            partner = others[0] if once and others else seed
            if partner not in others:
                continue
            common = tuple(fold for fold in self.folds(row, seed) if (over, partner, fold) in self.jobs)
            if common:
                differences.append(self._score(row, seed, common) - self._score(over, partner, common))
        return over_seeds(differences, column) if differences else None

    def frames(self, row: str) -> int:
        """The number of frames that a row has been judged on."""
        seed = self.seeds(row)[0]
        return sum(len(self._read(self.jobs[row, seed, fold])) for fold in self.folds(row, seed))

    def _score(self, row: str, seed: int, folds: tuple[str, ...]) -> Scored:
        key = (row, seed, folds)
        if key not in self._scored:
            jobs = [self.jobs[row, seed, fold] for fold in folds]
            kept = {frame: one for job in jobs for frame, one in self._read(job).items()}
            config, count = jobs[0].config, len(self.figures)
            result = Scored(np.zeros(count), np.zeros((self.resamples, count)))
            for settings, columns in self._by_settings(config):
                scorer = make_scorer(open_dataset(config.data, config.data.val_split), settings)
                names = [self.figures[column].name for column in columns]
                part = score_resamples(scorer, kept, self.groups, names, self.resamples)
                result.all[columns], result.drawn[:, columns] = part.all, part.drawn
            self._scored[key] = result
        return self._scored[key]

    def _by_settings(self, config: Config) -> list[tuple[Config, list[int]]]:
        """Settings of scorers, and the columns that each of them fills."""
        settings = [figure.settings(config) for figure in self.figures]
        keys = [(one.evaluate.min_iou, one.data.classes) for one in settings]
        first = [keys.index(key) for key in keys]
        return [(settings[one], [n for n, other in enumerate(first) if other == one]) for one in dict.fromkeys(first)]

    def _read(self, job: Job) -> Kept:
        """What a run has found in its frames, and their labels."""
        key = str(job.folder)
        if key not in self._kept:
            dataset = open_dataset(job.config.data, job.config.data.val_split)
            frames = (frame for batch in lay_out(dataset, job.config.data).epoch(0) for frame in batch.frames)
            self._kept[key] = make_scorer(dataset, job.config).read(job.folder.results, frames)
        return self._kept[key]


def compare_pooled(matrix: Matrix, jobs: list[Job], figures: list[Figure], resamples: int = RESAMPLES) -> Table:
    """A table of the rows' figures over all folds, and of their gains over ``against``, with 95 % intervals.

    Runs that are not done or were trained with other settings are left out. Raises DataError where the frames, their
    groups or detections are missing.
    """
    pool = Pool(matrix, [job for job in jobs if counts(job)], figures, read_groups(matrix, jobs), resamples)
    unit = f"groups of frames ({matrix.groups})" if matrix.groups else "single frames"
    title = f"detections of all folds scored together; 95 % intervals: bootstrap over {unit} and over seeds"
    table = Table("run", "folds", "frames", "seeds", "figure", title=title, box=box.SIMPLE, pad_edge=False)
    for heading in ("value", "95 %", "gain", "95 %"):
        table.add_column(heading, justify="right")
    for row, spec in matrix.runs.items():
        seeds = pool.seeds(row)
        if not seeds:
            continue
        folds = "none" if spec.shared else f"{len(pool.folds(row, seeds[0]))} of {len(matrix.folds)}"
        about = [row, folds, str(pool.frames(row)), str(len(seeds))]
        for column, figure in enumerate(figures):
            gain = pool.gain(row, spec.against, column)
            cells = (*pool.value(row, column).cells(), *(gain.cells(sign=True) if gain else ()))
            table.add_row(*about, figure.title, *cells, end_section=column == len(figures) - 1)
            about = [""] * len(about)
    return table
