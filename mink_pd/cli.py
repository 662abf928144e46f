"""What all command-line tools share: one-line errors, ``--debug``, exit codes."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mink_pd.errors import DataError, MinkPDError

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)
S = TypeVar("S")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default only where there is one worth knowing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, []) else super()._get_help_string(action)


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser with ``--debug``; defaults are shown in the help text."""
    result = argparse.ArgumentParser(description=description, formatter_class=_Help)
    result.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return result


def count(text: str) -> int:
    """An argument that is a whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0 on")
    return int(text)


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal; call what is yielded after each of ``total`` steps."""
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=total)
        yield lambda: bar.advance(task)


def simulator_arguments(arguments: argparse.ArgumentParser) -> None:
    """What every tool takes that writes a simulated data set."""
    add = arguments.add_argument
    add("out", type=Path, help="folder to write; nothing is done if it already holds this very data set")
    add("--seed", type=count, default=0, help="the same seed gives the same bytes")
    add("--workers", type=count, default=1, help="processes; the data do not depend on it")
    add("--force", action="store_true", help="replace a data set made with other settings")


def simulated(
    options: argparse.Namespace, simulate: Callable[..., list[S] | None], settings: object, what: str, steps: int
) -> tuple[list[S], float] | None:
    """Simulate with a bar of so many steps: the summaries, and the seconds it took. None, and a line that says so, if
    the data set is there already."""
    start = time.perf_counter()
    with progress(f"simulating {what}", steps) as advance:
        summaries = simulate(options.out, settings, options.workers, options.force, advance)
    if summaries is None:
        console.print(f"{options.out} is already there, made with the same settings: nothing to do")
        return None
    return summaries, time.perf_counter() - start


def run(main: Callable[[argparse.Namespace], None], arguments: argparse.ArgumentParser) -> None:
    """Parse the command line and call ``main``.

    A :class:`MinkPDError` becomes one line on stderr and exit code 2; Ctrl-C becomes exit code 130. What all
    processes of a training on one machine meet is told by the first.
    """
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    options = arguments.parse_intermixed_args()  # key=value may stand before and after the options
    try:
        main(options)
    except MinkPDError as error:
        if options.debug:
            raise
        if not error.told and (first or isinstance(error, DataError)):
            errors.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, markup=True)
        sys.exit(2)
    except KeyboardInterrupt:
        if first:
            errors.print("interrupted")
        sys.exit(130)
