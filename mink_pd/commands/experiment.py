"""Run a matrix of trainings and compare them over seeds."""

import argparse

from mink_pd.cli import console
from mink_pd.config.shipped import find_config
from mink_pd.errors import MinkPDError
from mink_pd.evaluate.scorers import headline
from mink_pd.experiments.matrix import compare, is_done, load_matrix, other_run, plan
from mink_pd.experiments.queue import run_all


def main(options: argparse.Namespace) -> None:
    """Train what is not done yet, then print the table, and which runs failed."""
    matrix = load_matrix(find_config(options.name, "experiments"))
    jobs = plan(matrix, list(range(options.seeds)), options.runs / matrix.folder, options.overrides, options.force)
    wanted = [job for job in jobs if not options.only or job.run in options.only]
    failed = {} if options.report else run_all(wanted, console, options.jobs)
    for job in jobs:
        if is_done(job) and (why := other_run(job)) is not None:
            console.print(f"left out: {why}", soft_wrap=True, markup=False)
    if wanted == jobs or options.report:
        console.print(compare(matrix, jobs, options.metrics or list(headline(jobs[0].config))))
    if failed:
        raise MinkPDError("\n".join(f"{run} failed: {why}" for run, why in failed.items()))
