"""Write a configuration for a data set from what its labelled frames hold."""

import argparse
import shlex
from pathlib import Path

from rich.table import Table

from mink_pd.cli import console, progress, warn
from mink_pd.config import load_config
from mink_pd.data.clouds.cloud_description import DESCRIPTION
from mink_pd.data.layouts import config_of_folder, splits_of
from mink_pd.errors import ConfigError
from mink_pd.files import check_writable, write_text
from mink_pd.new_config.plan import Plan, make_plan
from mink_pd.new_config.warn import warnings_of
from mink_pd.new_config.yaml_text import CLASS_COLUMNS, class_rows, yaml_text


def main(options: argparse.Namespace) -> None:
    """Look at the frames, write the file, print what was found."""
    if options.out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"{options.out}: a configuration ends in .yaml; write --out {options.out.stem}.yaml")
    if options.out.resolve() == (options.data / DESCRIPTION).resolve():
        raise ConfigError(f"{options.out}: describes the data set itself; write the configuration to another file")
    if options.out.exists() and not options.force:
        raise ConfigError(f"{options.out}: is there already; --force replaces it, another name keeps it")
    check_writable(options.out)
    chosen = {"classes": options.classes} if options.classes else {}
    data = config_of_folder(options.data, options.kind, **chosen)
    train, val = splits_of(data)
    data.train_split, data.val_split = options.train_split or train, options.val_split or val
    with progress("looking at frames", options.frames) as advance:
        plan = make_plan(data, options.budget, options.frames, advance)
    warnings = warnings_of(plan)
    write_text(options.out, yaml_text(plan, options.out, warnings))
    load_config(options.out)
    report(options.out, plan, warnings)


def report(out: Path, plan: Plan, warnings: list[str]) -> None:
    """The classes, the warnings, and what comes next."""
    table = Table(*CLASS_COLUMNS[:-1])
    for row in class_rows(plan):
        table.add_row(*row[:-1])
    console.print(table)
    warn(warnings)
    x, y, *_ = (
        f"{low:g} to {high:g} m" for low, high in zip(plan.extent.bounds[:3], plan.extent.bounds[3:], strict=True)
    )
    model, voxel = plan.affords.detector, " x ".join(f"{edge:g}" for edge in plan.voxel)
    console.print(f"{out}: {model}, voxels of {voxel} m, x {x}, y {y}, {plan.epochs} epochs", soft_wrap=True)
    console.print(f"train it: mink-pd train {shlex.quote(str(out))}", soft_wrap=True)
