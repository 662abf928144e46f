"""Every command that writes, on a full disk: one line, exit code 2, and all existing files are intact."""

import ctypes
import hashlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tiny_kitti import settings, write_data

from mink_pd.files import PART

IDS = [f"{i:06d}" for i in range(3)]
CLOUDS, TEACHER = "kitti/training", "disk/runs/teacher"
# Every command that writes files, with all its outputs in the folder ``disk``.
WRITERS = {
    "train": "train tiny.yaml name=new",
    "distill": f"distill tiny.yaml --teacher {TEACHER} name=student model.compression=4",
    "experiment": "experiment matrix.yaml --seeds 1 --runs disk/runs",
    "detect": f"detect {TEACHER} {CLOUDS} --out disk/found",
    "detect in a drive": f"detect {TEACHER} {CLOUDS} --out disk/drive.jsonl --mcap disk/drive.mcap",
    "eval-kitti": f"eval-kitti --checkpoint {TEACHER} --json disk/figures.json",
    "eval-clouds": f"eval-clouds --checkpoint {TEACHER} --json disk/figures.json",
    "report": "report disk/runs --out disk/page",
    "show-labels": "show-labels kitti --save disk/labels.html",
    "export": f"export {TEACHER} --out disk/exported --frames {CLOUDS}",
    "simulate-kitti": "simulate-kitti disk/simulated --train 1 --val 1",
    "simulate-drive": "simulate-drive disk/drives --drives 1 --val 0 --scans 1 --every 1 --sensor vlp16",
}
# Largest size of a file in bytes: the first byte fails, or a later one of a larger file.
LIMITS = (0, 5000)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("full")
    write_data(work / "kitti", IDS[:2], IDS[2:])
    tree = settings(Path("kitti"), Path("disk/runs"))
    tree["train"]["epochs"] = 1
    (work / "tiny.yaml").write_text(yaml.safe_dump(tree))
    (work / "matrix.yaml").write_text(yaml.safe_dump({"config": "tiny.yaml", "runs": {"student": {}}}))
    (work / "disk").mkdir()
    done = start(work, "train tiny.yaml name=teacher")
    assert done.returncode == 0, done.stderr
    return work


def start(work: Path, words: str, most: int | None = None) -> subprocess.CompletedProcess:
    """Run a command. most: largest size of a file in bytes; setting this limit needs no privileges."""

    def limit() -> None:
        if most is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    command = [sys.executable, "-m", "mink_pd", *words.split()]
    caches = {"MINK_PD_CACHE": str(work / "cache"), "COLUMNS": "200"}
    environment = os.environ | (caches if "MINK_PD_CACHE" not in os.environ else {})
    return subprocess.run(
        command, cwd=work, env=environment, capture_output=True, text=True, timeout=600, preexec_fn=limit
    )


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def check(work: Path, name: str, done: subprocess.CompletedProcess, before: dict[str, str]) -> None:
    assert done.returncode == 2, f"{done.returncode}: {done.stderr}{done.stdout}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert "fault of mink_pd" not in lines[0]
    after = digests(work / "disk")
    assert {file: after.get(file) for file in before} == before
    assert not [file for file in after if file.endswith(PART)]


@pytest.fixture
def work(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "work")
    return tmp_path / "work"


@pytest.mark.parametrize("most", LIMITS)
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_cannot_grow(work: Path, name: str, most: int) -> None:
    """The system limits the size of files. With the larger limit, small results are complete."""
    if name == "export":
        pytest.importorskip("onnx")
    before = digests(work / "disk")
    done = start(work, WRITERS[name], most)
    if most and done.returncode == 0:
        new = digests(work / "disk").keys() - before.keys()
        assert new
        assert all((work / "disk" / name).stat().st_size <= most for name in new)
        return
    check(work, name, done, before)


@pytest.fixture
def full_disk(work: Path) -> Iterator[Callable[[], None]]:
    """The folder ``disk`` on a small file system in memory; calling the fixture fills it."""
    libc = ctypes.CDLL(None, use_errno=True)
    kept = work / "kept"
    (work / "disk").rename(kept)
    disk = work / "disk"
    disk.mkdir()
    if libc.mount(b"none", os.fsencode(disk), b"tmpfs", 0, b"size=2m"):
        reason = os.strerror(ctypes.get_errno())
        pytest.skip(f"no permission to mount a file system in memory ({reason}); the limit on file sizes replaces it")
    shutil.copytree(kept, disk, dirs_exist_ok=True)

    def fill() -> None:
        with (disk / "ballast").open("wb", buffering=0) as file:
            try:
                while file.write(b"\0" * 4096):
                    pass
            except OSError:
                pass

    yield fill
    libc.umount2(os.fsencode(disk), 2)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(work: Path, full_disk: Callable[[], None], name: str) -> None:
    if name == "export":
        pytest.importorskip("onnx")
    full_disk()
    before = digests(work / "disk")
    check(work, name, start(work, WRITERS[name]), before)
