"""Simulate drives of any LiDAR: MCAP recordings with labels, and labelled clouds of the same scenes."""

import argparse
from collections import Counter
from pathlib import Path

from rich.table import Table

from mink_pd.cli import console
from mink_pd.commands.simulation import simulated
from mink_pd.config.sensor import load_sensor
from mink_pd.errors import ConfigError
from mink_pd.simulator.recorded_drives import (
    DriveSettings,
    DriveSummary,
    parse_classes,
    simulate_drives,
)


def main(options: argparse.Namespace) -> None:
    """Simulate, then say what was made."""
    if options.val >= options.drives:
        raise ConfigError(f"--val: {options.val} of {options.drives} drives leave none for training; lower it")
    settings = DriveSettings(
        load_sensor(options.sensor),
        parse_classes(options.classes),
        options.drives,
        options.scans,
        options.every,
        options.val,
        options.seed,
    )
    if made := simulated(options, simulate_drives, settings, "drives", settings.drives):
        report(options.out, settings, *made)


def report(out: Path, settings: DriveSettings, summaries: list[DriveSummary], seconds: float) -> None:
    """Labelled clouds, objects of each class, points and speed."""
    a_drive = -(-settings.scans // settings.every)
    clouds = a_drive * settings.drives
    total = sum((summary.objects for summary in summaries), Counter())
    table = Table("class", "objects", "per cloud")
    for name in dict.fromkeys(name for name, _ in settings.classes):
        table.add_row(name, f"{total[name]:,}", f"{total[name] / clouds:.2f}")
    train, val = a_drive * (settings.drives - settings.val), a_drive * settings.val
    console.print(f"{out}: {train} labelled clouds in train, {val} in val", soft_wrap=True)
    console.print(table)
    points = sum(summary.points for summary in summaries) / clouds
    speed = settings.drives * settings.scans / seconds
    console.print(f"{points:,.0f} points per cloud; {speed:.1f} scans/s")
    console.print(f"recordings: {out / 'drives'}/000.mcap ...", soft_wrap=True)
