"""Trainings of a matrix as processes, several at a time: one that fails or is stopped leaves the others alone."""

import contextlib
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from mink_pd.experiments.matrix import Job, is_finished
from mink_pd.experiments.progress import MatrixProgress
from mink_pd.files import make_folder, writing
from mink_pd.threads import cores

TRAIN = ["-m", "mink_pd.experiments.job"]  # what Python is to run for a training
POLL = 0.2  # [s]
PATIENCE = 60.0  # [s] that a process told to stop may take


class Process:
    """A training under way. Its lines go to ``<run folder>.log``; it stops when this process ends or closes it."""

    def __init__(self, job: Job, jobs: int) -> None:
        self.job, self.log = job, log_file(job)
        make_folder(self.log.parent)
        threads = max(1, cores() // jobs)
        mine = {"OMP_NUM_THREADS": str(min(threads, int(os.environ["OMP_NUM_THREADS"])))}  # set by mink_pd.threads
        with writing(self.log), self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, *TRAIN],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | mine,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the others in order
            )
        self._tell(pickle.dumps(job.config.plugins) + pickle.dumps(job))

    def _tell(self, data: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already; its exit code says so
            self.process.stdin.write(data)
            self.process.stdin.flush()

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def failure(self) -> str | None:
        """Why it failed, in one line; None if it did not."""
        code = self.process.returncode
        if code == 0:
            return None
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        reason = lines[-1].removeprefix("error: ") if lines else "it said nothing"
        return f"{f'killed by signal {-code}' if code < 0 else reason} (all it said: {self.log})"

    def stop(self) -> None:
        """Tell it to stop."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def wait(self) -> None:
        """Until it has ended, by force if it takes too long."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run_all(wanted: list[Job], console: Console, jobs: int = 1) -> dict[str, str]:
    """Train what is not done yet, ``jobs`` trainings at a time, and show how far the matrix is.

    A training starts when its teacher is done. Returns why runs failed (run folder -> one line); runs whose teacher
    failed are not started and are among them. KeyboardInterrupt stops all in a state to resume from.
    """
    with MatrixProgress(wanted, jobs, console) as progress:
        queue = Queue(wanted, jobs, progress)
        try:
            while queue.waiting or queue.running:
                queue.collect()
                queue.start()
                progress.update()
                time.sleep(POLL)
        except KeyboardInterrupt:
            console.print("stopping; the same command goes on after the last finished epochs")
            raise
        finally:
            queue.stop()
    return queue.failed


class Queue:
    """The jobs that wait, those that run, and what became of the others."""

    def __init__(self, wanted: list[Job], jobs: int, progress: MatrixProgress) -> None:
        self.waiting, self.jobs, self.progress = list(wanted), jobs, progress
        self.running: list[Process] = []
        self.failed: dict[str, str] = {}
        self._unfinished: set[str] = set()  # folders; to look into them again costs what a training could use

    def collect(self) -> None:
        """Take the processes that have ended off the list."""
        for process in [process for process in self.running if process.ended]:
            self.running.remove(process)
            process.stop()
            self._report(process.job, process.failure())

    def start(self) -> None:
        """Start what may start; what is done already, and what waits for a failed teacher, goes at once."""
        for job in list(self.waiting):
            teacher = str(job.teacher)
            unfinished = {str(other.folder) for other in self.waiting} | {str(one.job.folder) for one in self.running}
            if teacher in unfinished:
                continue
            if teacher in self.failed:
                self.waiting.remove(job)
                self._report(job, f"not started: its teacher {teacher} failed")
            elif self._is_finished(job):
                self.waiting.remove(job)
                self.progress.found(job)
            elif len(self.running) < self.jobs:
                self.waiting.remove(job)
                self.running.append(Process(job, self.jobs))
                self.progress.started(job)

    def stop(self) -> None:
        """Stop what still runs, all together."""
        for process in self.running:
            process.stop()
        for process in self.running:
            process.wait()

    def _is_finished(self, job: Job) -> bool:
        folder = str(job.folder)
        if folder not in self._unfinished and is_finished(job):
            return True
        self._unfinished.add(folder)
        return False

    def _report(self, job: Job, why: str | None) -> None:
        if why is not None:
            self.failed[str(job.folder)] = why
        self.progress.ended(job, why)


def log_file(job: Job) -> Path:
    """Where a training's lines go: beside its run folder."""
    return job.folder.path.with_name(f"{job.folder.path.name}.log")
