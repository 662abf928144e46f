"""Writing files whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mink_pd.errors import DataError


@contextmanager
def whole_file(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """A file opened under a temporary name beside ``path`` and renamed to it when the block ends well.

    After an error nothing of it is left: nobody ever reads half a file. Raises DataError where it cannot be
    written.
    """
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}); choose a folder that exists and is writable"
        ) from None
    try:
        with os.fdopen(handle, mode) as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are for their owner alone
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
