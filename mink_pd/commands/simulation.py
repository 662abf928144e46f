"""What both commands share that write a simulated data set."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mink_pd.cli import console, progress
from mink_pd.commands.options import count, positive

S = TypeVar("S")


def add_simulation(parser: argparse.ArgumentParser) -> None:
    """The output folder, ``--seed``, ``--workers`` and ``--force``."""
    add = parser.add_argument
    add("out", type=Path, help="folder to write; a data set made with the same settings is left as it is")
    add("--seed", type=count, default=0, help="the same seed gives the same bytes")
    add("--workers", type=positive, default=1, help="processes; the data do not depend on their number")
    add("--force", action="store_true", help="replace a data set made with other settings")


def simulated(
    options: argparse.Namespace, simulate: Callable[..., list[S] | None], settings: object, what: str, steps: int
) -> tuple[list[S], float] | None:
    """Simulate with a progress bar of ``steps`` steps: the summaries, and the seconds it took.

    None if the data set is there already; a line says so.
    """
    start = time.perf_counter()
    with progress(f"simulating {what}", steps) as advance:
        summaries = simulate(options.out, settings, options.workers, options.force, advance)
    if summaries is None:
        console.print(f"{options.out} is already there, made with the same settings: nothing to do")
        return None
    return summaries, time.perf_counter() - start
