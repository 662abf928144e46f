"""numba's cache where it cannot be written, is damaged, or the disk is full."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.dispatcher import Dispatcher

from mink_pd import jit
from mink_pd.errors import DataError

MODULE = """
from mink_pd.jit import njit
@njit()
def double(x):
    return 2 * x
if __name__ == "__main__":
    print(double(21), len(double.stats.cache_hits), len(double.stats.cache_misses))
"""


def run(folder: Path, **environment: str) -> str:
    """What the module prints, the installation and the home being of a user who may not write to them."""
    command = [sys.executable, "-B", str(folder / "twice.py")]
    if os.geteuid() == 0:
        caps = "-dac_override,-dac_read_search,-fowner"
        command = ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}", *command]
    own = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "MINK_PD_CACHE")}
    done = subprocess.run(command, env=own | environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and there is no setpriv to take that right away")
    folder = tmp_path / "installed"
    folder.mkdir()
    (folder / "twice.py").write_text(MODULE)
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    return folder


def test_a_read_only_installation_and_home(installed: Path, tmp_path: Path) -> None:
    folders = [installed, tmp_path / "home"]
    for folder in folders:
        folder.chmod(0o555)
    places = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}
    try:
        assert run(installed, **places) == "42 0 1\n"
        assert run(installed, **places) == "42 1 0\n"
        assert list((tmp_path / "tmp").glob("mink_pd-*/numba/**/*.nbi"))
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_damaged_cache_is_made_again(installed: Path) -> None:
    assert run(installed) == "42 0 1\n"
    assert run(installed) == "42 1 0\n"
    (index,) = (installed / "__pycache__").glob("twice.double*.nbi")
    index.write_bytes(b"damaged")
    assert run(installed) == "42 0 1\n"


def test_no_place_for_a_cache_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    def nowhere() -> Path:
        raise DataError("no folder for cached files can be written")

    monkeypatch.setattr(Dispatcher, "enable_caching", refuse)
    monkeypatch.setattr(jit, "cache_folder", nowhere)
    assert jit.njit()(lambda x: 2 * x)(21) == 42


def test_a_full_disk_costs_the_cache_and_not_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", full)

    @jit.njit()
    def triple(x: int) -> int:
        return 3 * x

    assert triple(14) == 42
