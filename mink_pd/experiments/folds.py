"""The folds of a matrix: which groups frames belong to, and whether a fold is judged on what it was trained on."""

import csv

from mink_pd.config import DataConfig
from mink_pd.data import open_dataset
from mink_pd.data.loading.training import training_sets
from mink_pd.errors import ConfigError, DataError
from mink_pd.experiments.matrix import Job, Matrix
from mink_pd.files import read_text

_REMEDY = "give a CSV file with the columns frame and group, and a line for each frame"


def read_groups(matrix: Matrix, jobs: list[Job]) -> dict[str, str]:
    """The group of each frame of ``data.root``; without a file of groups, each judged frame is a group of its own.

    Raises DataError for a file that is missing, malformed or lacks a judged frame.
    """
    judged = [frame for data in _judging(jobs).values() for frame in open_dataset(data, data.val_split).ids]
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


def check_folds(matrix: Matrix, jobs: list[Job]) -> None:
    """Raise ConfigError where two folds judge the same frame, or a fold is trained on frames or groups that it judges.

    Only training frames in ``data.root`` have groups. Raises DataError as ``read_groups`` does.
    """
    groups = read_groups(matrix, jobs)
    fold_of: dict[str, str] = {}
    for fold, data in _judging(jobs).items():
        judged = open_dataset(data, data.val_split).ids
        for frame in judged:
            if frame in fold_of:
                raise ConfigError(f"folds '{fold_of[frame]}' and '{fold}' both judge frame {frame}; judge it once")
            fold_of[frame] = fold
        held_back = {groups[frame]: frame for frame in judged}
        own = [one for one in training_sets(data) if one.root.resolve() == data.root.resolve()]
        for frame in (frame for one in own for frame in one.ids):
            group = groups.get(frame, frame)
            if group in held_back:
                raise ConfigError(
                    f"fold '{fold}': is trained on frame {frame} and judged on frame {held_back[group]} of the same"
                    f" group, {group}; leave whole groups out"
                )


def _judging(jobs: list[Job]) -> dict[str, DataConfig]:
    """The settings of the data of each fold, of its first row."""
    folds: dict[str, DataConfig] = {}
    for job in jobs:
        folds.setdefault(job.fold or "", job.config.data)
    return folds
