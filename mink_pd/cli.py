"""What all command-line tools share: one-line errors, ``--debug``, exit codes."""

import argparse
import contextlib
import io
import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mink_pd.errors import ConfigError, DataError, LostProcessError, MinkPDError
from mink_pd.files import reason
from mink_pd.registry import load_plugin

# Names of files and classes may look like markup, such as "clouds[v2]".
console = Console(highlight=False, markup=False)
errors = Console(stderr=True, highlight=False, markup=False)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default only where there is one worth knowing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if isinstance(action.default, bool) or action.default in (None, []):
            return action.help
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        return super()._get_help_string(action)


def parser(description: str, program: str | None = None) -> argparse.ArgumentParser:
    """An argument parser with ``--debug``; defaults are shown in the help text.

    program: the name in the help text; the script's if None.
    """
    result = argparse.ArgumentParser(program, description=description, formatter_class=_Help)
    result.add_argument("--debug", action="store_true", help="show the traceback of an error")
    text = "Python file that registers own detectors, data sets or methods; may be given several times"
    result.add_argument("--plugin", type=Path, action="append", default=[], metavar="FILE", help=text)
    return result


@contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal; call what is yielded after each of ``total`` steps."""
    columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(text, total=total)
        yield lambda: bar.advance(task)


def run(
    main: Callable[[argparse.Namespace], None], arguments: argparse.ArgumentParser, words: list[str] | None = None
) -> None:
    """Parse ``words`` (None: the words of the command line) and call ``main``.

    A :class:`MinkPDError`, or a file or memory that the system refuses, becomes one line on stderr and exit code 2;
    Ctrl-C becomes exit code 130; any other exception is a fault of mink_pd: a line that asks for a report, its
    traceback in a file, and exit code 1. Of several processes on one machine only the first prints an error that all
    of them have.
    """
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    _print_anything()
    options = arguments.parse_intermixed_args(words)  # key=value may stand before and after the options
    try:
        _expand_home(options)
        for plugin in options.plugin:
            load_plugin(plugin)
        main(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        if first:
            errors.print("interrupted")
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output has gone, as ``| head`` does
        _close_output()
        sys.exit(141)
    except Exception as error:
        if options.debug:
            raise
        told = getattr(error, "told", False) or not (first or isinstance(error, DataError | LostProcessError))
        if not told:
            print_error(error)
        if isinstance(error, OSError) and error.filename is None:
            _close_output()
        sys.exit(2 if _is_users(error) else 1)


def warn(lines: Iterable[str]) -> None:
    """A line each for what will hurt but does not stop the command."""
    for line in lines:
        console.print(f"[bold yellow]warning:[/] {escape(line)}", soft_wrap=True, markup=True)


def print_error(error: Exception) -> None:
    """One line on stderr."""
    errors.print(f"[bold red]error:[/] {escape(_one_line(error))}", soft_wrap=True, markup=True)


def _expand_home(options: argparse.Namespace) -> None:
    """``~`` in paths is the user's home; no shell expands it in ``--out=~/x``. Raises ConfigError for no home."""
    try:
        for name, value in vars(options).items():
            if isinstance(value, Path):
                setattr(options, name, value.expanduser())
            elif isinstance(value, list):
                setattr(options, name, [one.expanduser() if isinstance(one, Path) else one for one in value])
    except RuntimeError:
        raise ConfigError("command line: no home folder is known for a path with ~; write the whole path") from None


def _print_anything() -> None:
    """Print ``?`` for a character that the terminal's encoding lacks: a result must not be lost to it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _close_output() -> None:
    """Standard output takes no more; Python must not try again at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_users(error: Exception) -> bool:
    """Whether the user can fix the cause; otherwise it is a bug of mink_pd."""
    return isinstance(error, MinkPDError | OSError | MemoryError) or _is_out_of_memory(error) or _is_lost_worker(error)


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and ("can't allocate memory" in str(error) or "out of memory" in str(error))


def _is_lost_worker(error: Exception) -> bool:
    """Whether a process that reads frames has been killed, which is mostly the system's answer to too little memory."""
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker")


def _one_line(error: Exception) -> str:
    """The error message for the user."""
    if isinstance(error, MinkPDError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'standard output'}: {reason(error)}; check the file, the disk and their rights"
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return "not enough memory; lower train.batch_size or data.cache_mb, or use a larger machine"
    if _is_lost_worker(error):
        return "a process that reads frames was killed; set data.workers=0, or lower data.cache_mb or train.batch_size"
    text = "".join(traceback.format_exception(error))
    kept = _keep(text)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}: {reason(error)}"
    return f"a fault of mink_pd itself ({what}); please report it, with {kept or 'the output of --debug'}"


def _keep(text: str) -> str | None:
    """Write a traceback to a new file; return its path."""
    with contextlib.suppress(OSError):
        handle, path = tempfile.mkstemp(prefix="mink_pd-fault-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(f"{shlex.join(sys.argv)}\n{text}")
        return path
    return None
