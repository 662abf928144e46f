"""TensorBoard event files, written immediately in the calling thread.

torch's SummaryWriter writes in a background thread, which reports an error such as a full disk late and as a traceback.
"""

import io
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from mink_pd.files import writing


class EventFile:
    """An event file of scalars in ``folder``. TensorBoard discards steps from ``purge_from`` on in earlier files.

    The constructor and all methods raise DataError when the file cannot be written.
    """

    def __init__(self, folder: Path, purge_from: int | None = None) -> None:
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        with writing(self.path):
            self._file = self.path.open("ab", buffering=0)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if purge_from is not None:
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=purge_from, session_log=start))

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Write one point of each curve."""
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=points)))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Event) -> None:
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        with writing(self.path):
            self._file.write(record.getvalue())
