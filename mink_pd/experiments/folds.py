"""The folds of a matrix: which groups frames belong to, and whether a fold is judged on what it was trained on."""

import csv
from collections.abc import Iterator

from mink_pd.config import Config
from mink_pd.data import open_dataset
from mink_pd.data.loading.training import training_sets
from mink_pd.errors import ConfigError, DataError
from mink_pd.evaluate.scorers import Scorer, scorer_of
from mink_pd.evaluate.scorers.scorer import scorer_name
from mink_pd.experiments.matrix import Job, Matrix
from mink_pd.files import read_text
from mink_pd.models.checkpoint import checkpoint_file, read_config, read_epoch

_REMEDY = "give a CSV file with the columns frame and group, and a line for each frame"


def read_groups(matrix: Matrix, jobs: list[Job]) -> dict[str, str]:
    """The group of each frame of ``data.root``; without a file of groups, each evaluated frame is its own group.

    Raises DataError for a file that is missing, malformed or lacks a judged frame.
    """
    splits = {(job.config.data.root, job.config.data.val_split): job.config.data for job in jobs}
    judged = [frame for (_, split), data in splits.items() for frame in open_dataset(data, split).ids]
    if matrix.groups is None:
        return {frame: frame for frame in judged}
    path = jobs[0].config.data.root / matrix.groups
    groups: dict[str, str] = {}
    for number, row in enumerate(csv.reader(read_text(path, remedy=_REMEDY).splitlines()), 1):
        if len(row) != 2:
            raise DataError(f"{path}:{number}: {len(row)} columns; {_REMEDY}")
        groups[row[0].strip()] = row[1].strip()
    lacking = next((frame for frame in judged if frame not in groups), None)
    if lacking is not None:
        raise DataError(f"{path}: lacks frame {lacking}; {_REMEDY}")
    return groups


def check_folds(matrix: Matrix, jobs: list[Job], planned: list[Job] | None = None) -> None:
    """Raise ConfigError where two folds of a row judge the same frame, the scorer cannot pool folds, or a run is judged
    on frames or groups that it, its teacher or the run whose weights it starts from is trained on.

    ``planned`` also has the runs that ``jobs`` need, if these are not all in ``jobs``. Only training frames in
    ``data.root`` have groups. Raises DataError as ``read_groups`` does.
    """
    groups = read_groups(matrix, jobs)
    folders = {str(job.folder): job for job in planned or jobs}
    fold_of: dict[tuple[str, str], str] = {}  # of a row and a frame
    for job in {(job.run, job.fold): job for job in jobs}.values():
        if scorer_of(job.config).read is Scorer.read:
            raise ConfigError(f"'evaluate.scorer': {scorer_name(job.config)} cannot pool the detections of folds")
        data, fold = job.config.data, job.fold or ""
        judged = open_dataset(data, data.val_split).ids
        for frame in judged:
            other = fold_of.setdefault((job.run, frame), fold)
            if other != fold:
                raise ConfigError(f"folds '{other}' and '{fold}' both judge frame {frame}; judge it once")
        held_back = {groups[frame]: frame for frame in judged}
        for trained in _lineage(job, folders):
            frames = (frame for one in training_sets(trained.data, data.root) for frame in one.ids)
            for group, frame in ((groups.get(frame, frame), frame) for frame in frames):
                if group in held_back:
                    learns = "is" if trained is job.config else f"learns from {trained.name}, which is"
                    raise ConfigError(
                        f"{job.config.name}: {learns} trained on frame {frame}, and is judged on frame"
                        f" {held_back[group]} of the same group, {group}; leave whole groups out"
                    )


def _lineage(job: Job, folders: dict[str, Job]) -> Iterator[Config]:
    """The settings of a run, and of all runs whose weights or features it learns from."""
    yield job.config
    for folder in job.sources.values():
        yield from _lineage(folders[str(folder)], folders)
    initial = job.config.train.initial if job.initial is None else None
    while initial is not None and read_epoch(file := checkpoint_file(initial)):  # 0: an import
        yield (earlier := read_config(file))
        initial = earlier.train.initial
