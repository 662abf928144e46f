"""Runs one training of a matrix in its own process: ``python -m mink_pd.experiments.job``, the job on standard input.

The parent process keeps standard input open while it wants the result. When standard input closes, for example because
the parent has died, this process stops as after Ctrl-C, and the run can be resumed.
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
    for plugin in pickle.load(sys.stdin.buffer):  # first, because plugins define parts of the job's configuration
        load_plugin(plugin)
    job: Job = pickle.load(sys.stdin.buffer)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process may inherit an ignored SIGINT
    threading.Thread(target=_stop_at_end_of_input, daemon=True).start()
    execute(job)


def _stop_at_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 1):  # not sys.stdin: its lock would be held at exit
        pass
    main_thread = threading.main_thread().ident
    if main_thread is not None:
        signal.pthread_kill(main_thread, signal.SIGINT)


if __name__ == "__main__":
    run(lambda _: main(), parser("Train the job that is read from standard input. Called by mink-pd experiment."))
