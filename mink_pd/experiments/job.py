"""One training of a matrix in a process of its own: ``python -m mink_pd.experiments.job``, the job on standard input.

The process that started it keeps standard input open for as long as it wants the result: at its end, however that
comes, this one stops as at Ctrl-C, and the run can be resumed.
"""

import os
import pickle
import signal
import sys
import threading

from mink_pd.cli import parser, run
from mink_pd.experiments.matrix import Job, execute
from mink_pd.registry import load_plugin


def main() -> None:
    """Read the job, then train."""
    for plugin in pickle.load(sys.stdin.buffer):  # first: they define parts of the job's configuration
        load_plugin(plugin)
    job: Job = pickle.load(sys.stdin.buffer)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process may have been told to ignore it
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    execute(job)


def _stop_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not through sys.stdin, whose lock would be held at exit
        pass
    main_thread = threading.main_thread().ident
    if main_thread is not None:
        signal.pthread_kill(main_thread, signal.SIGINT)


if __name__ == "__main__":
    run(lambda _: main(), parser("Train the job that is read from standard input; mink-pd experiment calls this."))
