"""Whether layers may leave out work that does not change their results."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_WHOLE = ContextVar("whole", default=False)


@contextmanager
def whole_work() -> Iterator[None]:
    """Inside, every layer does its nominal work and is called by itself, so that hooks see it.

    Nominal work does not depend on the cloud: repeated points and rows that only fill groups up count.
    """
    token = _WHOLE.set(True)
    try:
        yield
    finally:
        _WHOLE.reset(token)


def is_whole() -> bool:
    """Whether the caller is inside :func:`whole_work`."""
    return _WHOLE.get()
