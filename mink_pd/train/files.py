"""Folders that are either complete or absent; files are so by mink_pd.data.files."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mink_pd.data.files import whole_file
from mink_pd.errors import MinkPDError


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all."""
    with whole_file(path) as file:
        file.write(text)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of ``path`` when the block ends well.

    Raises MinkPDError where it cannot be written.
    """
    temporary, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    for left_over in (temporary, old):
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    except OSError as error:
        raise MinkPDError(f"{path}: cannot be written ({error.strerror}); check the disk and its rights") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Make ``path`` and its parents; MinkPDError where that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MinkPDError(f"{path}: cannot be made ({error.strerror}); choose another folder") from None
