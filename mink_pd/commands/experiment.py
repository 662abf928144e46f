"""Run a matrix of trainings and compare them over seeds."""

import argparse

from rich.measure import Measurement
from rich.table import Table

from mink_pd.cli import console
from mink_pd.config.shipped import find_config
from mink_pd.errors import ConfigError, MinkPDError
from mink_pd.evaluate.scorers import headline
from mink_pd.experiments.folds import check_folds
from mink_pd.experiments.matrix import Job, Matrix, compare, is_done, load_matrix, missing_frames, other_run, plan
from mink_pd.experiments.pooling import Figure, compare_pooled
from mink_pd.experiments.queue import run_all


def main(options: argparse.Namespace) -> None:
    """Train what is not done yet, then print the table of all finished runs, and which runs failed."""
    matrix = load_matrix(find_config(options.name, "experiments"))
    jobs = plan(matrix, list(range(options.seeds)), options.runs / matrix.folder, options.overrides, options.force)
    metrics = options.metrics or matrix.metrics or list(headline(jobs[0].config))
    figures = [Figure.of(metric, jobs[0].config) for metric in metrics]
    if not matrix.folds and any(figure.iou is not None for figure in figures):
        raise ConfigError("FIGURE@IOU needs a matrix with folds; write the figure alone, and set evaluate.min_iou")
    unknown = next((row for row in options.only or () if row not in matrix.runs), None)
    if unknown is not None:
        raise ConfigError(f"--only {unknown}: not a row of the matrix; choose from {', '.join(matrix.runs)}")
    wanted = [job for job in jobs if not options.only or job.run in options.only]
    failed = {} if options.report else _run(matrix, wanted, jobs, options.jobs)
    for job in jobs:
        if is_done(job) and (why := other_run(job)) is not None:
            console.print(f"left out: {why}", soft_wrap=True)
    if matrix.folds:
        _print_whole(compare_pooled(matrix, jobs, figures))
    else:
        console.print(compare(matrix, jobs, metrics))
    if failed:
        raise MinkPDError("\n".join(f"{run} failed: {why}" for run, why in failed.items()))


def _run(matrix: Matrix, jobs: list[Job], planned: list[Job], at_a_time: int) -> dict[str, str]:
    """Train the wanted jobs of ``planned`` whose frames are there. Returns the failures (run folder -> one line).

    Raises MinkPDError if no job can be trained, ConfigError for folds that are judged on what they were trained on.
    """
    missing = missing_frames(jobs)
    rows: dict[str, list[str]] = {}  # by reason
    for job in jobs:
        if str(job.folder) in missing:
            rows.setdefault(missing[str(job.folder)], []).append(str(job.config.name))
    for why, names in rows.items():
        if len(missing) == len(jobs):
            raise MinkPDError(why)
        console.print(f"skipped: {', '.join(names)}: {why}", soft_wrap=True)
    here = [job for job in jobs if str(job.folder) not in missing]
    if matrix.folds and here:
        check_folds(matrix, here, planned)
    return run_all(here, console, at_a_time)


def _print_whole(table: Table) -> None:
    """Print a table without shortening its cells; a terminal that is narrower breaks the lines."""
    before = console.width
    console.width = max(before, Measurement.get(console, console.options.update(max_width=1000), table).maximum)
    console.print(table)
    console.width = before
