"""Simulate, train, distil, evaluate and render, with one table as the result."""

import argparse
import shlex
import subprocess
import sys
import time

from rich.table import Table

from mink_pd.cli import console
from mink_pd.config.shipped import find_config
from mink_pd.errors import MinkPDError
from mink_pd.experiments.matrix import load_matrix, plan
from mink_pd.experiments.queue import run_all
from mink_pd.render import save_png
from mink_pd.report.page import Report, make_report, write_page
from mink_pd.report.page_tables import timed_with
from mink_pd.report.statements import finding

TITLES = {"teacher": "teacher", "student": "4x student", "distilled": "distilled"}
SHORT = "This is a short training: the longer it is, the smaller the gain (docs/results.md)."


def main(options: argparse.Namespace) -> None:
    """Run the steps, each of which prints what it does. Finished trainings are not repeated."""
    start = time.perf_counter()
    matrix = load_matrix(find_config("demo", "experiments"))
    jobs = {job.run: job for job in plan(matrix, [0], options.runs, options.overrides)}
    data = jobs["teacher"].config.data
    call("simulate-kitti", data.root, "--train", options.train, "--val", options.val)
    if failed := run_all(list(jobs.values()), console):
        raise MinkPDError("\n".join(f"{run} failed: {why}" for run, why in failed.items()))
    report = make_report([job.folder.path for job in jobs.values()])
    page = write_page(report, options.runs / "report")
    figures = jobs["distilled"].folder.figures
    for name, picture in report.pictures.items():
        save_png(picture, figures / f"{name}.png")
    console.print(table(report, data.classes))
    for line in [*report.missing, f"pictures: {figures}", f"report, for a browser: {page}"]:
        console.print(line, soft_wrap=True)
    console.print(*(finding(group) for group in report.groups), SHORT, soft_wrap=True)
    console.print(f"{time.perf_counter() - start:.0f} s")


def call(command: str, *arguments: object) -> None:
    """Run another command and print the call. Raises MinkPDError if it fails."""
    words = [command, *map(str, arguments)]
    console.print(f"$ mink-pd {shlex.join(words)}", style="dim", soft_wrap=True)
    if subprocess.run([sys.executable, "-m", "mink_pd", *words], check=False).returncode:
        raise MinkPDError(f"mink-pd {command} failed; its own message is above")


def table(report: Report, classes: list[str]) -> Table:
    """Cost and figures of teacher, student and distilled student, and the gain by distillation."""
    keys = ["mAP_bev", "mAP_3d", *(f"{name}/{metric}/moderate" for name in classes for metric in ("bev", "3d"))]
    titles = ["mAP BEV", "mAP 3D", *(f"{name} {metric}" for name in classes for metric in ("BEV", "3D"))]
    found = {row.name: row.first.figures for row in report.rows}
    cost = [report.costs[name] for name in TITLES]
    result = Table(
        "",
        *TITLES.values(),
        "gain",
        title="AP in percent: moderate, R40",
        caption=timed_with({name: report.costs[name] for name in TITLES}),
    )
    result.add_row("parameters", *(f"{c.parameters / 1e6:.2f} M" for c in cost))
    result.add_row("multiply-adds per frame", *(f"{c.multiply_adds / 1e9:.2f} G" for c in cost))
    result.add_row("ms per frame", *(f"{c.milliseconds:.1f}" for c in cost), end_section=True)
    for title, key in zip(titles, keys, strict=True):
        values = {name: found[name].get(key, 0.0) for name in TITLES}
        gain = f"{values['distilled'] - values['student']:+.1f}"
        result.add_row(title, *(f"{value:.1f}" for value in values.values()), gain)
    return result
