"""Run a matrix of trainings and compare them over seeds."""

import argparse
from pathlib import Path

from mink_pd.cli import console
from mink_pd.commands.options import add_overrides, positive
from mink_pd.config.shipped import find_config
from mink_pd.errors import MinkPDError
from mink_pd.evaluate.scorers import headline
from mink_pd.experiments.matrix import compare, is_done, load_matrix, other_run, plan
from mink_pd.experiments.queue import run_all

DESCRIPTION = "Run a matrix of trainings; what is done is not done again. Prints means and 95 % intervals."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments and options of the command."""
    add = parser.add_argument
    add("name", help="name of an experiment in configs/experiments, or the path of such a YAML file")
    add_overrides(parser, "settings for all runs")
    add("--seeds", type=positive, default=3, metavar="N", help="train with seeds 0 to N - 1")
    add("--jobs", type=positive, default=1, help="trainings at a time, on shared cores")
    add("--only", nargs="+", metavar="RUN", help="train these rows of the matrix only")
    add("--runs", type=Path, default=Path("runs"), help="folder for the experiment's run folders")
    columns = "columns of the table; the benchmark's main figures if not given"
    add("--metrics", nargs="+", metavar="FIGURE", help=columns)
    add("--force", action="store_true", help="train runs again that were made with other settings, teacher or data")
    add("--report", action="store_true", help="only print the table of what is done")


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
