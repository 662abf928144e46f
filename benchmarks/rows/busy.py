"""A process that uses all of a core that it can get, for as long as a context lasts."""

import signal
import subprocess
import sys
from types import TracebackType
from weakref import finalize

# Linux kills it when its parent ends, even while it is stopped.
_CODE = f"""
import ctypes
ctypes.CDLL(None).prctl(1, {int(signal.SIGKILL)})
print(flush=True)
while True:
    pass
"""


class BusyProcess:
    """Runs inside ``with``, is stopped outside, and ends with this object."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-I", "-S", "-c", _CODE], stdout=subprocess.PIPE)
        finalize(self, self._process.kill)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it runs
        self._process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGSTOP)
