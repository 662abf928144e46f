"""What the set-up prints while it works: lines that stay, and one line of progress with the time left.

Standard library only.
"""

from __future__ import annotations

import math
import shutil
import sys
import threading
import time

INTERVAL = 30.0  # seconds between two lines of progress where a line cannot be rewritten


class Progress:
    """One line about all that runs side by side; on a terminal it is rewritten, else printed now and then."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._doing: dict[str, str] = {}  # what each part does
        self._ends: dict[str, float] = {}  # when each part is expected to end
        self._drawn = False
        self._printed = -math.inf

    def say(self, text: str) -> None:
        """Print a line that stays."""
        with self._lock:
            self.clear()
            print(f"setup: {text}", flush=True)
            self._draw()

    def expect(self, part: str, seconds: float) -> None:
        """Estimate how long a part, running or still to come, will take from now on."""
        with self._lock:
            self._ends[part] = time.monotonic() + seconds

    def show(self, part: str, text: str) -> None:
        """Say what a part is doing."""
        with self._lock:
            new = part not in self._doing
            self._doing[part] = text
            if new or sys.stdout.isatty() or time.monotonic() - self._printed >= INTERVAL:
                self._draw()

    def end(self, part: str) -> None:
        """A part has ended."""
        with self._lock:
            self._doing.pop(part, None)
            self._ends.pop(part, None)
            self.clear()

    def line(self) -> str:
        """The line of progress, empty while nothing runs."""
        doing = "; ".join(reversed(self._doing.values()))  # the newest part first, for a terminal may cut the end
        left = max(self._ends.values(), default=0.0) - time.monotonic()
        return f"{duration(left)} left; {doing}" if doing else ""

    def _draw(self) -> None:
        line = self.line()
        if not line:
            return
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{f'setup: {line}'[:width]}", end="", flush=True)
            self._drawn = True
        else:
            print(f"setup: {line}", flush=True)
        self._printed = time.monotonic()

    def clear(self) -> None:
        """Remove the line of progress from the terminal."""
        if self._drawn:
            print("\r\x1b[K", end="", flush=True)
            self._drawn = False


def duration(seconds: float) -> str:
    """``about 4 min``, rounded up."""
    minutes = math.ceil(seconds / 60)
    return f"about {minutes} min" if minutes > 1 else "a minute"


PROGRESS = Progress()
say = PROGRESS.say
