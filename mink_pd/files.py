"""Reading and writing files. A file is written whole or not at all; every failure is one line that names the file."""

import codecs
import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mink_pd.errors import ConfigError, DataError, MinkPDError

PART = ".part"  # suffix of a file that is being written; sweep() removes those whose writer has died
TEXT_LIMIT = 64_000_000  # bytes of a text file that is read whole
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def reason(error: BaseException) -> str:
    """What an exception says, in a few words without line breaks."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


@contextmanager
def reading(
    path: str | Path, kind: type[MinkPDError] = DataError, remedy: str = "copy the file again"
) -> Iterator[None]:
    """Turn every exception of a block that reads ``path`` into one line of ``kind`` that names the file.

    Errors of mink_pd pass unchanged.
    """
    try:
        yield
    except MinkPDError:
        raise
    except OSError as error:
        raise kind(f"{path}: cannot be read ({reason(error)}); {remedy}") from error
    except MemoryError as error:
        raise kind(f"{path}: too large for the memory of this machine; {remedy}") from error
    except Exception as error:
        raise kind(f"{path}: damaged or of another kind ({type(error).__name__}: {reason(error)}); {remedy}") from error


def read_bytes(
    path: str | Path,
    kind: type[MinkPDError] = DataError,
    remedy: str = "copy the file again",
    limit: int | None = None,
) -> bytes:
    """The content of a regular file of at most ``limit`` bytes.

    Raises ``kind`` for a file that is missing, unreadable or too large, and for a folder, a named pipe or a device,
    which might never end.
    """
    with reading(path, kind, remedy):
        size = check_regular(path, kind, remedy)
        if limit is not None and size > limit:
            raise kind(f"{path}: {size:,} bytes, more than {limit:,} for a file of this kind; {remedy}")
        return Path(path).read_bytes()


def check_regular(path: str | Path, kind: type[MinkPDError] = DataError, remedy: str = "give a file") -> int:
    """The size of a regular file in bytes. Raises ``kind`` for anything else."""
    with reading(path, kind, remedy):
        status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file (a pipe or device)"
        raise kind(f"{path}: is {what}; {remedy}")
    return status.st_size


def read_text(
    path: str | Path,
    kind: type[MinkPDError] = DataError,
    remedy: str = "copy the file again",
    limit: int = TEXT_LIMIT,
) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte order mark, which is removed. Raises ``kind``."""
    data = read_bytes(path, kind, remedy, limit)
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding).replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise kind(f"{path}: not a text file in UTF-8; {remedy}") from None


def is_number(word: str) -> bool:
    """Whether a word of a text file is a number, NaN and infinity included."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_json(
    path: str | Path, kind: type[MinkPDError] = DataError, remedy: str = "copy the file again", limit: int = TEXT_LIMIT
) -> Any:
    """The value in a JSON file. Raises ``kind``."""
    text = read_text(path, kind, remedy, limit)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise kind(f"{path}: not valid JSON; {remedy}") from None


@contextmanager
def writing(path: str | Path, remedy: str = "check the disk's free space and the folder's rights") -> Iterator[None]:
    """Turn every OSError of a block that writes ``path`` into one line that names the file. Raises DataError."""
    try:
        yield
    except OSError as error:
        name = str(error.filename or "")  # rmtree gives names without their folder
        own = not os.path.dirname(name) or name.endswith(PART)
        raise DataError(f"{path if own else name}: cannot be written ({reason(error)}); {remedy}") from error


@contextmanager
def whole_file(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """A file opened under a temporary name next to ``path``, and renamed to it when the block ends without an error.

    After an error nothing of it is left, and an earlier file at ``path`` stays. A link is followed; a device such as
    /dev/null is written to. Raises DataError where it cannot be written.
    """
    goal = Path(os.path.realpath(path))
    encoding = None if "b" in mode else "utf-8"
    if goal.exists() and not goal.is_file() and not goal.is_dir():
        with writing(path), goal.open(mode, encoding=encoding) as file:
            yield file
        return
    with writing(path, "choose a folder that exists and is writable"):
        if goal.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        handle, temporary = _open_part(goal.parent)
    try:
        with writing(path):
            with os.fdopen(handle, mode, encoding=encoding) as file:
                yield file
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are for their owner alone
            os.replace(temporary, goal)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _open_part(folder: Path) -> tuple[int, str]:
    """A new locked temporary file: descriptor and path. The lock shows that its writer is alive."""
    while True:
        handle, path = tempfile.mkstemp(dir=folder, prefix=".", suffix=PART)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:  # else sweep() came between the two calls
            return handle, path
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove the temporary files in ``folder`` that a killed process has left; those being written stay."""
    for path in folder.glob(f".*{PART}"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, whole or not at all. Raises DataError."""
    with whole_file(path) as file:
        file.write(text)


def append_line(path: Path, line: str) -> None:
    """Add one line to a file in a single write. After an error the file is as before. Raises DataError."""
    data = f"{line}\n".encode()
    with writing(path), path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(before)
            raise


def replaceable_folder(path: Path) -> Path:
    """Where a folder lies that is to be replaced by another one: ``path`` with its links followed.

    Raises ConfigError for a folder that cannot be renamed: one that contains the current folder, or the root of a file
    system. To be called before long work.
    """
    with writing(path, "change to a folder that exists"):
        goal, current = Path(os.path.realpath(path)), Path(os.path.realpath(os.curdir))
    if current.is_relative_to(goal):
        raise ConfigError(f"{path}: contains the current folder, and so cannot be replaced; choose another folder")
    if goal.is_mount():
        raise ConfigError(f"{path}: is the root of a file system, and so cannot be replaced; choose a folder inside it")
    return goal


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which replaces ``path`` when the block ends without an error. A link is followed.

    Raises DataError if it cannot be written, and the errors of :func:`replaceable_folder`; the earlier folder then
    stays.
    """
    goal = replaceable_folder(path)
    temporary, old = goal.with_name(f".{goal.name}.tmp"), goal.with_name(f".{goal.name}.old")
    if old.exists() and not goal.exists():  # killed between the two renames below
        with writing(path):
            os.replace(old, goal)
    for left_over in (temporary, old):
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        with writing(path):
            temporary.mkdir(parents=True)
            yield temporary
            if goal.exists():
                os.replace(goal, old)
            os.replace(temporary, goal)
    finally:
        if not goal.exists() and old.exists():
            with contextlib.suppress(OSError):
                os.replace(old, goal)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Make ``path`` and its parents. Raises DataError where that cannot be done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be made ({reason(error)}); choose another folder") from None


def check_writable(path: Path | None) -> None:
    """Raise DataError unless a file can be written at ``path``; None passes. To be called before long work.

    What killed processes have left in its folder goes (:func:`sweep`).
    """
    if path is None:
        return
    goal = Path(os.path.realpath(path))
    with writing(path, "choose a folder that exists and is writable"):
        if goal.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        if goal.exists() and not goal.is_file():
            return
        if goal.parent.exists() and not goal.parent.is_dir():
            raise NotADirectoryError(None, f"{goal.parent} is a file")
        handle, temporary = _open_part(goal.parent)
        os.close(handle)
        os.unlink(temporary)
    sweep(goal.parent)


def check_writable_folder(path: Path) -> None:
    """Make the folder ``path`` and raise DataError unless files can be written in it."""
    make_folder(path)
    with writing(path, "choose a folder that is writable"):
        handle, temporary = _open_part(path)
        os.close(handle)
        os.unlink(temporary)
    sweep(path)


def cache_folders() -> list[Path]:
    """Where cached files may lie, best first: ``MINK_PD_CACHE``, the user's cache, a private temporary folder."""
    candidates = (os.environ.get("MINK_PD_CACHE"), _user_cache(), _private_temporary())
    return [Path(candidate) for candidate in candidates if candidate]


def cache_folder() -> Path:
    """The first of the cache folders that can be written. Raises DataError where there is none."""
    for folder in cache_folders():
        with contextlib.suppress(DataError):
            check_writable_folder(folder)
            return folder
    raise DataError("no folder for cached files can be written; set MINK_PD_CACHE to one")


def _user_cache() -> str | None:
    with contextlib.suppress(RuntimeError):  # a user without a home
        return str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mink_pd")
    return None


def _private_temporary() -> str | None:
    """A folder in the temporary one that belongs to this user alone: caches of compiled code are run."""
    with contextlib.suppress(OSError):
        folder = Path(tempfile.gettempdir()) / f"mink_pd-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
            return str(folder)
    return None
