"""Runs the trainings of a matrix as processes, several at a time; a failed training does not affect the others."""

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

TRAIN = ["-m", "mink_pd.experiments.job"]  # command line of a training
POLL = 0.2  # [s]
PATIENCE = 60.0  # time for a process to stop before it is killed [s]


class Process:
    """A running training. Its output goes to ``<run folder>.log``. It stops when this process ends or stops it."""

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
                start_new_session=True,  # Ctrl-C reaches only this process, which then stops the others in order
            )
        self._tell(pickle.dumps(job.config.plugins) + pickle.dumps(job))

    def _tell(self, data: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has already ended, and its exit code says why
            self.process.stdin.write(data)
            self.process.stdin.flush()

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def failure(self) -> str | None:
        """The reason for its failure, in one line; None if it did not fail."""
        code = self.process.returncode
        if code == 0:
            return None
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        reason = lines[-1].removeprefix("error: ") if lines else "no output"
        return f"{f'killed by signal {-code}' if code < 0 else reason} (its output: {self.log})"

    def stop(self) -> None:
        """Ask it to stop."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def wait(self) -> None:
        """Wait until it has ended; kill it if it takes too long."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run_all(wanted: list[Job], console: Console, jobs: int = 1) -> dict[str, str]:
    """Train the runs that are not done, ``jobs`` at a time, and show the progress.

    A training starts when the runs that it needs are done. Returns the failures (run folder -> one line), including
    runs that were not started because one that they need failed. After KeyboardInterrupt all runs can be resumed.
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
            console.print("stopping; the same command continues after the last finished epochs")
            raise
        finally:
            queue.stop()
    return queue.failed


class Queue:
    """The waiting jobs, the running jobs, and the results of the others."""

    def __init__(self, wanted: list[Job], jobs: int, progress: MatrixProgress) -> None:
        self.waiting, self.jobs, self.progress = list(wanted), jobs, progress
        self.running: list[Process] = []
        self.failed: dict[str, str] = {}
        self._unfinished: set[str] = set()  # folders that need not be read again; reading slows the trainings

    def collect(self) -> None:
        """Remove the processes that have ended from the list."""
        for process in [process for process in self.running if process.ended]:
            self.running.remove(process)
            process.stop()
            self._report(process.job, process.failure())

    def start(self) -> None:
        """Start the jobs that are ready, and report those that are done or need one that has failed."""
        for job in list(self.waiting):
            sources = [str(folder) for folder in job.sources.values()]
            unfinished = {str(other.folder) for other in self.waiting} | {str(one.job.folder) for one in self.running}
            failed = next((source for source in sources if source in self.failed), None)
            if failed is not None:
                self.waiting.remove(job)
                self._report(job, f"not started: {failed}, which it needs, failed")
            elif not unfinished.isdisjoint(sources):
                continue
            elif self._is_finished(job):
                self.waiting.remove(job)
                self.progress.found(job)
            elif len(self.running) < self.jobs:
                self.waiting.remove(job)
                self.running.append(Process(job, self.jobs))
                self.progress.started(job)

    def stop(self) -> None:
        """Stop all running trainings at the same time."""
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
    """The log file of a training, next to its run folder."""
    return job.folder.path.with_name(f"{job.folder.path.name}.log")
