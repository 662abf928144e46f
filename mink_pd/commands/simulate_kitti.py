"""Simulate a data set in KITTI's object layout: point clouds, calibration, labels and splits."""

import argparse
from collections import Counter
from pathlib import Path

from rich.table import Table

from mink_pd.cli import console
from mink_pd.commands.simulation import simulated
from mink_pd.simulator import DATE, DRIVE, Settings, Summary, simulate

CLASSES = ("Car", "Van", "Truck", "Pedestrian", "Cyclist", "DontCare")


def main(options: argparse.Namespace) -> None:
    """Simulate, then say what was made."""
    settings = Settings(options.train, options.val, options.seed, options.drive, options.world)
    if made := simulated(options, simulate, settings, "frames", settings.train + settings.val + settings.drive):
        report(options.out, settings, *made)


def report(out: Path, settings: Settings, summaries: list[Summary], seconds: float) -> None:
    """Frames, objects of each class, points and speed."""
    frames = max(len(summaries), 1)
    total = sum((summary.names for summary in summaries), Counter())
    points = sum(summary.points for summary in summaries)
    table = Table("class", "objects", "a frame")
    for name in CLASSES:
        table.add_row(name, f"{total[name]:,}", f"{total[name] / frames:.2f}")
    console.print(f"{out}: {settings.train} frames in train, {settings.val} in val", soft_wrap=True)
    console.print(table)
    speed = (len(summaries) + settings.drive) / seconds
    console.print(f"{points / frames:,.0f} points a frame; {speed:.1f} frames/s")
    if settings.drive:
        console.print(f"raw drive of {settings.drive} scans: --raw {out / 'raw'} {DATE} {DRIVE}", soft_wrap=True)
