"""What both commands share that write a simulated data set."""

import argparse
import time
from collections.abc import Callable
from typing import TypeVar

from mink_pd.cli import console, progress

S = TypeVar("S")


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
        text = f"{options.out} is already there, made with the same settings: nothing to do"
        console.print(text, soft_wrap=True)
        return None
    return summaries, time.perf_counter() - start
