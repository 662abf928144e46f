"""The main job from nothing: simulate, train, distil, evaluate, render, and one table."""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

from rich.table import Table

from mink_pd.cli import console, parser, run
from mink_pd.data import open_dataset
from mink_pd.data.batch import collate
from mink_pd.errors import MinkPDError
from mink_pd.models.cost import Cost, measure
from mink_pd.train.matrix import Job, figures, load_matrix, plan
from mink_pd.train.runs import load_detector
from mink_pd.train.side_by_side import run_all

ROOT = Path(__file__).resolve().parents[1]
TITLES = {"teacher": "teacher", "student": "4x student", "distilled": "distilled"}


def main(options: argparse.Namespace) -> None:
    """Each step says what it does; what is done already is not done again."""
    start = time.perf_counter()
    matrix = load_matrix(ROOT / "configs" / "experiments" / "demo.yaml")
    jobs = {job.run: job for job in plan(matrix, [0], options.runs, options.overrides)}
    data = jobs["teacher"].config.data
    call("tools/simulate_kitti.py", data.root, "--train", options.train, "--val", options.val)
    if failed := run_all(list(jobs.values()), console):
        raise MinkPDError("\n".join(f"{run} failed: {why}" for run, why in failed.items()))
    importance, detections = draw(jobs)
    console.print(table(jobs))
    console.print(f"pictures: {importance} (where the teacher looks), {detections} (what each student finds)")
    console.print(f"{time.perf_counter() - start:.0f} s")


def draw(jobs: dict[str, Job]) -> list[Path]:
    """The two pictures, made again only where a detector is newer."""
    teacher, student, distilled = (jobs[name].folder.path for name in ("teacher", "student", "distilled"))
    newest = max(job.folder.weights("last").stat().st_mtime for job in jobs.values())
    pictures = [distilled / "figures" / name for name in ("importance.png", "detections.png")]
    calls = (
        ("viz/show_importance.py", teacher),
        ("viz/show_detections.py", student, distilled, "--names", "student alone", "distilled"),
    )
    for picture, words in zip(pictures, calls, strict=True):
        if not picture.exists() or picture.stat().st_mtime < newest:
            call(*words, "--save", picture)
    return pictures


def call(script: str | Path, *arguments: object) -> None:
    """Run one of the front doors and show how a user would call it. Raises MinkPDError if it fails."""
    words = [str(script), *map(str, arguments)]
    console.print(f"[dim]$ python {shlex.join(words)}[/]", soft_wrap=True)
    if subprocess.run([sys.executable, ROOT / script, *words[1:]], check=False).returncode:
        raise MinkPDError(f"{script} failed; its own message is above")


def table(jobs: dict[str, Job]) -> Table:
    """Cost and figures of teacher, student and distilled student, and what distillation gains."""
    classes = jobs["teacher"].config.data.classes
    keys = ["mAP_bev", "mAP_3d", *(f"{name}/{metric}/moderate" for name in classes for metric in ("bev", "3d"))]
    titles = ["mAP BEV", "mAP 3D", *(f"{name} {metric}" for name in classes for metric in ("BEV", "3D"))]
    found = {name: figures(job) for name, job in jobs.items()}
    cost = {name: cost_of(job) for name, job in jobs.items()}
    result = Table("", *(TITLES[name] for name in jobs), "gain", title="AP in percent: moderate, R40")
    result.add_row("parameters", *(f"{c.parameters / 1e6:.2f} M" for c in cost.values()))
    result.add_row("multiply-adds a frame", *(f"{c.multiply_adds / 1e9:.2f} G" for c in cost.values()))
    result.add_row("ms a frame", *(f"{c.milliseconds:.0f}" for c in cost.values()), end_section=True)
    for title, key in zip(titles, keys, strict=True):
        values = {name: one.get(key, 0.0) for name, one in found.items()}
        gain = f"{values['distilled'] - values['student']:+.1f}"
        result.add_row(title, *(f"{value:.1f}" for value in values.values()), gain)
    return result


def cost_of(job: Job) -> Cost:
    """Measured on a few validation frames."""
    data = job.config.data
    frames = open_dataset(data, data.val_split)
    detector, _ = load_detector(job.folder.path)
    return measure(detector, [collate([frames[i]], data.classes) for i in range(min(8, len(frames)))])


if __name__ == "__main__":
    arguments = parser("Run the main job end to end on simulated frames; a second run reuses what has not changed.")
    arguments.add_argument("overrides", nargs="*", metavar="key=value", help="settings for all trainings")
    arguments.add_argument("--train", type=int, default=240, help="simulated training frames")
    arguments.add_argument("--val", type=int, default=80, help="simulated validation frames")
    arguments.add_argument("--runs", type=Path, default=Path("runs/demo"), help="folder for the run folders")
    run(main, arguments)
