"""The folds of a matrix: which groups frames belong to, and whether a fold is judged on what it was trained on."""

import csv

from mink_pd.data import open_dataset
from mink_pd.data.loading.training import training_sets
from mink_pd.errors import ConfigError, DataError
from mink_pd.evaluate.scorers import Scorer, scorer_of
from mink_pd.evaluate.scorers.scorer import scorer_name
from mink_pd.experiments.matrix import Job, Matrix
from mink_pd.files import read_text

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


def check_folds(matrix: Matrix, jobs: list[Job]) -> None:
    """Raise ConfigError where two folds of a row judge the same frame, a run is trained on frames or groups that it is
    judged on, or the scorer cannot pool folds.

    Only training frames in ``data.root`` have groups. Raises DataError as ``read_groups`` does.
    """
    groups = read_groups(matrix, jobs)
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
        own = [one for one in training_sets(data) if one.root.resolve() == data.root.resolve()]
        for frame in (frame for one in own for frame in one.ids):
            group = groups.get(frame, frame)
            if group in held_back:
                raise ConfigError(
                    f"{job.config.name}: is trained on frame {frame} and judged on frame {held_back[group]} of the same"
                    f" group, {group}; leave whole groups out"
                )
