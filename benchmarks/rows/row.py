"""One line of the table: what it compares, and its result."""

import logging
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from benchmarks.harness import Memory, Pair, Side, Timing, measure, measure_memory
from benchmarks.inputs import Inputs

INSTALL_SPCONV = "make bench-deps installs spconv"


class UnavailableError(Exception):
    """Something that a row times is not there; the text says what provides it."""


def peer_module(name: str) -> Any | None:
    """A peer's module, None if it is not installed. What it prints when it is imported is discarded."""
    logging.disable(logging.WARNING)
    try:
        return import_module(name)
    except ImportError:
        return None
    finally:
        logging.disable(logging.NOTSET)


@dataclass(frozen=True)
class Row:
    """name: short and stable; build: makes both sides; target: the lowest ratio peer / ours, None if only reported."""

    name: str
    what: str
    peer: str
    target: float | None
    build: Callable[[Inputs], Pair]


@dataclass
class Result:
    """The result of a row: its timing, or the error that stopped it."""

    row: Row
    timing: Timing | None = None
    memory: Memory | None = None
    threads: tuple[str, str] = ("", "")
    notes: tuple[str, ...] = ()
    error: str | None = None

    @property
    def met(self) -> bool | None:
        """Whether the targets are met; None if there is no target or no peer."""
        if self.timing is None or self.timing.ratio is None or self.row.target is None:
            return None
        small = self.memory is None or self.memory.share <= self.memory.target
        return self.timing.ratio >= self.row.target and small

    def to_json(self) -> dict[str, Any]:
        """The row of the JSON. Values that could not be measured are null."""
        timing = self.timing or Timing()
        content: dict[str, Any] = {
            "name": self.row.name,
            "what": self.row.what,
            "ours_ms": timing.ours_ms,
            "peer": self.row.peer,
            "peer_ms": timing.peer_ms,
            "ratio": timing.ratio,
            "spread": timing.spread,
            "target": self.row.target,
            "met": self.met,
            "runs": list(timing.runs),
            "threads": list(self.threads),
            "notes": list(self.notes),
        }
        if self.memory is not None:
            content["memory"] = vars(self.memory)
        if self.error is not None:
            content["error"] = self.error
        return content


def run(row: Row, inputs: Inputs, repeats: int, debug: bool = False) -> Result:
    """Measure one row. An error is recorded in the row; with ``debug`` its traceback is printed."""
    try:
        pair = row.build(inputs)
        timing = measure(pair, repeats)
        memory = measure_memory(pair)
    except UnavailableError as missing:
        return Result(row, notes=(str(missing),))
    except Exception as error:  # whatever it is, the other rows are worth having
        if debug:
            traceback.print_exc(file=sys.stderr)
        text = str(error).strip() or "no message"
        return Result(row, error=f"{type(error).__name__}: {text.splitlines()[0]}")
    threads = (str(pair.ours.threads), str(pair.peer.threads) if isinstance(pair.peer, Side) else "")
    return Result(row, timing, memory, threads, tuple(pair.notes))
