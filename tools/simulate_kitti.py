"""Simulate a data set in KITTI's object layout: point clouds, calibration, labels and splits."""

import argparse
import time
from collections import Counter
from pathlib import Path

from rich.table import Table

from mink_pd.cli import console, count, parser, progress, run
from mink_pd.data.simulator import DATE, DRIVE, Settings, Summary, simulate

CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Cyclist", "DontCare")


def main(options: argparse.Namespace) -> None:
    """Simulate, then say what was made."""
    settings = Settings(options.train, options.val, options.seed, options.drive)
    start = time.perf_counter()
    with progress("simulating", settings.train + settings.val + settings.drive) as advance:
        summaries = simulate(options.out, settings, options.workers, options.force, advance)
    if summaries is None:
        console.print(f"{options.out} is already there, made with the same settings: nothing to do")
        return
    report(options.out, settings, summaries, time.perf_counter() - start)


def report(out: Path, settings: Settings, summaries: list[Summary], seconds: float) -> None:
    """Frames, objects of each class, points and speed."""
    frames = max(len(summaries), 1)
    total = sum((summary.names for summary in summaries), Counter())
    points = sum(summary.points for summary in summaries)
    table = Table("class", "objects", "a frame")
    for name in CLASSES:
        table.add_row(name, f"{total[name]:,}", f"{total[name] / frames:.2f}")
    console.print(f"{out}: {settings.train} frames in train, {settings.val} in val")
    console.print(table)
    speed = (len(summaries) + settings.drive) / seconds
    console.print(f"{points / frames:,.0f} points a frame; {speed:.1f} frames/s")
    if settings.drive:
        console.print(f"raw drive of {settings.drive} scans: --raw {out / 'raw'} {DATE} {DRIVE}")


if __name__ == "__main__":
    arguments = parser("Simulate a LiDAR data set in KITTI's object layout: labelled street scenes of an HDL-64E.")
    add = arguments.add_argument
    add("out", type=Path, help="folder to write; nothing is done if it already holds this very data set")
    add("--train", type=count, default=240, help="frames in the train split")
    add("--val", type=count, default=80, help="frames in the val split")
    add("--seed", type=count, default=0, help="the same seed gives the same bytes")
    add("--workers", type=count, default=1, help="processes; the data do not depend on it")
    scans = "also write a raw drive, as pykitti reads it, of SCANS full turns (20 if no number is given)"
    add("--drive", type=count, nargs="?", const=20, default=0, metavar="SCANS", help=scans)
    add("--force", action="store_true", help="replace a data set made with other settings")
    run(main, arguments)
