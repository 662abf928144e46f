"""A cache of decoded frames in memory."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from mink_pd.data.frame import Frame, Frames


class CachedFrames:
    """Frames that are read only once, as long as they fit into ``megabytes`` of memory in this process.

    The first frames stay in the cache and are never replaced. If every epoch reads all frames once in a random order,
    no other strategy has more hits. The arrays are shared and read-only; each reader gets a new frame on them.
    """

    def __init__(self, source: Frames, megabytes: float) -> None:
        self._source, self._room = source, megabytes * 1e6
        self._frames: dict[int, Frame] = {}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int, /) -> Frame:
        """Frame ``index``. Raises DataError if it cannot be read."""
        frame = self._frames.get(index)
        if frame is None:
            frame = self._source[index]
            arrays = list(_arrays(frame))
            size = sum(array.nbytes for array in arrays)
            if size > self._room:
                return frame
            self._room -= size
            for array in arrays:
                array.flags.writeable = False
            self._frames[index] = frame
        return _copy(frame)


def _arrays(value: Any) -> Iterator[np.ndarray]:
    """All arrays of a frame and its parts."""
    for field in fields(value):
        part = getattr(value, field.name)
        if isinstance(part, np.ndarray):
            yield part
        elif is_dataclass(part):
            yield from _arrays(part)


def _copy(value: Any) -> Any:
    """A copy of a frame and its parts with the same arrays."""
    parts = {field.name: getattr(value, field.name) for field in fields(value)}
    return replace(value, **{name: _copy(part) for name, part in parts.items() if is_dataclass(part)})
