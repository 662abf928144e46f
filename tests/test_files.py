"""Files: whole or not at all, failures in one line, nothing left behind by the dead."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mink_pd.errors import CheckpointError, ConfigError, DataError
from mink_pd.files import (
    PART,
    append_line,
    cache_folder,
    check_writable,
    check_writable_folder,
    read_bytes,
    read_json,
    read_text,
    reading,
    replaceable_folder,
    replacing_folder,
    sweep,
    whole_file,
    write_text,
    writing,
)

FULL = Path("/dev/full")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_text_with_and_without_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "list.txt"
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    path.write_bytes((mark + "000000\r\nö\n").encode(encoding))
    assert read_text(path) == "000000\nö\n"


def test_what_is_no_regular_text_file_is_named(tmp_path: Path) -> None:
    pipe, latin, large = tmp_path / "pipe", tmp_path / "latin", tmp_path / "large"
    os.mkfifo(pipe)
    latin.write_bytes("Straße".encode("latin-1"))
    large.write_bytes(b"x" * 11)
    for path, words in ((pipe, "pipe"), (tmp_path, "folder"), (latin, "UTF-8"), (tmp_path / "no", "No such file")):
        with pytest.raises(CheckpointError, match=words) as error:
            read_text(path, CheckpointError)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="11 bytes, more than 10"):
        read_bytes(large, limit=10)
    latin.write_text("[" * 100_000)
    with pytest.raises(DataError, match="not valid JSON"):
        read_json(latin)


def test_any_exception_while_reading_names_the_file() -> None:
    for fault in (
        KeyError("a"),
        ValueError("b\nc"),
        IndexError(),
        MemoryError(),
        IsADirectoryError(21, "Is a directory"),
    ):
        with pytest.raises(DataError, match=r"^x\.bin: [^\n]*; correct it$"), reading("x.bin", remedy="correct it"):
            raise fault
    with pytest.raises(CheckpointError, match="as it was"), reading("x.bin"):
        raise CheckpointError("as it was")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(DataError, match=r"^/dev/full: cannot be written \(No space left on device\)"):
        write_text(FULL, "x")
    with pytest.raises(DataError, match="/dev/full: cannot be written"):
        append_line(FULL, "x")


def test_an_error_keeps_the_earlier_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_text(path, "before")

    def fill() -> None:
        with whole_file(path) as file:
            file.write("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=r"x\.json: cannot be written \(No space"):
        fill()
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_that_vanishes_while_writing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()

    def remove_and_write() -> None:
        with whole_file(folder / "x") as file:
            shutil.rmtree(folder)
            file.write("late")

    with pytest.raises(DataError, match="run/x: cannot be written"):
        remove_and_write()
    with pytest.raises(DataError, match="cannot be written"):
        append_line(folder / "metrics.jsonl", "{}")


def test_a_failed_folder_keeps_the_earlier_one(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    write_text(results / "a.txt", "old")

    def replace() -> None:
        with replacing_folder(results) as folder:
            write_text(folder / "a.txt", "new")
            raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="results: cannot be written"):
        replace()
    assert (results / "a.txt").read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["results"]


def test_a_folder_that_a_kill_left_half_replaced_comes_back(tmp_path: Path) -> None:
    old = tmp_path / ".results.old"
    old.mkdir()
    (old / "a.txt").write_text("old")
    with pytest.raises(DataError), replacing_folder(tmp_path / "results"):
        raise OSError(28, "No space left on device")
    assert (tmp_path / "results" / "a.txt").read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["results"]


def test_a_linked_folder_is_replaced_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "there" / "results").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "there" / "results")
    with replacing_folder(link) as folder:
        write_text(folder / "a.txt", "new")
    assert link.is_symlink()
    assert (tmp_path / "there" / "results" / "a.txt").read_text() == "new"
    assert [one.name for one in tmp_path.glob("**/.*")] == []


def test_a_folder_that_cannot_be_renamed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    for path in (Path("."), Path(".."), inside, tmp_path, Path("/")):
        with pytest.raises(ConfigError, match=f"^{path}: contains the current folder.*; choose another"):
            replaceable_folder(path)
    with pytest.raises(ConfigError, match=r"^/dev: is the root of a file system"):
        replaceable_folder(Path("/dev"))
    assert replaceable_folder(Path("new")) == inside / "new"
    with pytest.raises(ConfigError, match="contains the current folder"), replacing_folder(Path(".")):
        pytest.fail("the work was begun")


def test_links_are_followed_and_devices_survive(tmp_path: Path) -> None:
    goal, link = tmp_path / "goal", tmp_path / "link"
    goal.write_text("old")
    link.symlink_to(goal)
    write_text(link, "new")
    assert link.is_symlink()
    assert goal.read_text() == "new"
    write_text(Path("/dev/null"), "x")
    assert Path("/dev/null").is_char_device()


def test_paths_are_checked_before_the_work(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "x")
    check_writable(None)
    check_writable(tmp_path / "new")
    check_writable(tmp_path / "file")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    for path in (tmp_path, tmp_path / "none" / "x", tmp_path / "file" / "x"):
        with pytest.raises(DataError, match=f"^{path}: cannot be written"):
            check_writable(path)


def test_what_a_killed_writer_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    killed = (
        "import os, signal, sys\nfrom mink_pd.files import whole_file\n"
        "with whole_file(sys.argv[1]) as file:\n    file.write('half'); file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", killed, str(tmp_path / "x.txt")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(f".*{PART}"))) == 1
    with whole_file(tmp_path / "y.txt") as file:
        file.write("whole")
        sweep(tmp_path)
        assert len(list(tmp_path.glob(f".*{PART}"))) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["y.txt"]


def test_a_cache_without_a_home_lies_in_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("MINK_PD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))  # cannot be made
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = cache_folder()
    assert folder == tmp_path / f"mink_pd-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)  # another user could put code here
    with pytest.raises(DataError, match="MINK_PD_CACHE"):
        cache_folder()


def test_a_folder_that_cannot_be_written_is_named_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", str(tmp_path / f".x{PART}"))

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(DataError, match=rf"^{tmp_path}: cannot be written \(Read-only file system\)"):
        check_writable_folder(tmp_path)


def test_an_error_of_another_file_keeps_its_name() -> None:
    for name, named in (("/else/where", "/else/where"), ("inside", "run"), (None, "run")):
        with pytest.raises(DataError, match=f"^{named}: cannot be written"), writing("run"):
            raise OSError(28, "No space left on device", name)
