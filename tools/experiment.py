"""Run a matrix of trainings and compare them over seeds."""

import argparse
from pathlib import Path

from mink_pd.cli import console, parser, run
from mink_pd.errors import ConfigError, MinkPDError
from mink_pd.evaluate.scorers import headline
from mink_pd.experiments.matrix import compare, load_matrix, plan
from mink_pd.experiments.queue import run_all

EXPERIMENTS = Path(__file__).resolve().parents[1] / "configs" / "experiments"


def main(options: argparse.Namespace) -> None:
    """Train what is not done yet, then print the table, and which runs failed."""
    if options.seeds < 1 or options.jobs < 1:
        raise ConfigError("--seeds and --jobs are numbers from 1 on")
    path = EXPERIMENTS / f"{options.name}.yaml"
    matrix = load_matrix(path if path.exists() else Path(options.name))
    jobs = plan(matrix, list(range(options.seeds)), options.runs / matrix.folder, options.overrides)
    wanted = [job for job in jobs if not options.only or job.run in options.only]
    failed = {} if options.report else run_all(wanted, console, options.jobs)
    if wanted == jobs or options.report:
        console.print(compare(matrix, jobs, options.metrics or list(headline(jobs[0].config.data))))
    if failed:
        raise MinkPDError("\n".join(f"{run} failed: {why}" for run, why in failed.items()))


if __name__ == "__main__":
    arguments = parser("Run a matrix of trainings; what is done is not done again. Prints means and 95 % intervals.")
    arguments.add_argument("name", help="an experiment of configs/experiments, or a YAML file like them")
    arguments.add_argument("overrides", nargs="*", metavar="key=value", help="settings for all runs")
    arguments.add_argument("--seeds", type=int, default=3, help="seeds 0 to this less one")
    arguments.add_argument("--jobs", type=int, default=1, help="trainings at a time, on shared cores")
    arguments.add_argument("--only", nargs="+", metavar="RUN", help="train these rows of the matrix only")
    arguments.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the experiment's run folders")
    columns = "columns of the table; the benchmark's main figures if not given"
    arguments.add_argument("--metrics", nargs="+", metavar="FIGURE", help=columns)
    arguments.add_argument("--report", action="store_true", help="only print the table of what is done")
    run(main, arguments)
