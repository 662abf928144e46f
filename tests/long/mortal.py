"""``mortal.py N COMMAND ...``: runs mink-pd COMMAND and kills it just before its file operation number N (0: never).

File operations are those that change something below the working folder: opening for writing, renaming, removing,
making a folder. They are counted in the process and in the trainings that it starts, in the file ``MORTAL_COUNT``.
"""

import fcntl
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

COUNT, LAST = "MORTAL_COUNT", "MORTAL_LAST"
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")


def count_one() -> None:
    """Count an operation. The last one kills the process, which ends the whole group of processes."""
    with open(os.environ[COUNT], "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        number = int(file.read() or b"0") + 1
        file.seek(0)
        file.write(str(number).encode())
    if number == int(os.environ[LAST]):
        os.kill(os.getpid(), signal.SIGKILL)


def watch(work: str) -> None:
    """Count the operations below the folder ``work``."""
    busy = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        if busy or not (event in CHANGES or event == "open"):
            return
        path = arguments[0]
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        if isinstance(path, str | bytes | os.PathLike) and os.path.abspath(os.fsdecode(path)).startswith(work):
            busy = True
            count_one()
            busy = False

    sys.addaudithook(hook)


def main() -> None:
    last, *words = sys.argv[1:]
    work = os.getcwd() + os.sep
    os.environ |= {COUNT: os.path.join(os.path.dirname(os.getcwd()), "count"), LAST: last}
    Path(os.environ[COUNT]).write_text("0")
    from mink_pd.experiments import queue

    queue.TRAIN = [__file__, "job", work]  # each training of a matrix has its own process, which may die as well
    watch(work)
    sys.argv = ["mink-pd", *words]
    runpy.run_module("mink_pd", run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "job":
        watch(sys.argv[2])
        sys.argv = sys.argv[:1]
        runpy.run_module("mink_pd.experiments.job", run_name="__main__")
    else:
        main()
