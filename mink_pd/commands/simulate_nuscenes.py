"""Simulate a data set in the schema of nuScenes: LiDAR sweeps, keyframes, annotations, all tables."""

import argparse
from collections import Counter
from pathlib import Path

from rich.table import Table

from mink_pd.cli import console
from mink_pd.commands.simulation import simulated
from mink_pd.simulator.nuscenes import SPLITS, Settings, Summary, simulate


def main(options: argparse.Namespace) -> None:
    """Simulate, then say what was made."""
    settings = Settings(options.train, options.val, options.keyframes, options.seed, options.schema)
    if made := simulated(options, simulate, settings, "scenes", settings.train + settings.val):
        report(options.out, settings, *made)


def report(out: Path, settings: Settings, summaries: list[Summary], seconds: float) -> None:
    """Keyframes, objects of each category, points and speed."""
    frames = max(len(summaries) * settings.keyframes, 1)
    total = sum((summary.objects for summary in summaries), Counter())
    table = Table("category", "annotations", "a keyframe")
    for name, number in total.most_common():
        table.add_row(name, f"{number:,}", f"{number / frames:.2f}")
    train, val = SPLITS[settings.schema]
    console.print(
        f"{out}: {settings.train * settings.keyframes} keyframes in {train}, {settings.val * settings.keyframes} in"
        f" {val} ({settings.schema}), {settings.keyframes} a scene",
        soft_wrap=True,
    )
    console.print(table)
    points = sum(summary.points for summary in summaries) / frames
    console.print(f"{points:,.0f} points a sweep, ten sweeps a keyframe; {seconds:.0f} s")
    console.print(f"read it with data.kind=nuscenes data.root={out} data.version={settings.schema}", soft_wrap=True)
