"""A wheel built from the tree, installed away from the checkout, simulates, trains and detects."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[1]
TINY = ("model.channels=[8, 8, 16]", "model.pillar_channels=8", "model.neck_channels=8", "model.layers=[1, 1, 1]",
        "model.nms.score=0", "train.epochs=1", "train.threads=1")  # fmt: skip
Command = Callable[..., CompletedProcess]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, for a build leaves files in the tree."""
    folder = tmp_path_factory.mktemp("build")
    (folder / "tools").mkdir()
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "tools/wheel.py"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("mink_pd", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    # From a source distribution, which therefore must hold all that the wheel needs.
    code = "from setuptools import build_meta; print(build_meta.build_sdist('.'))"
    archive = call([sys.executable, "-c", code], folder).stdout.splitlines()[-1]
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    call([sys.executable, "-m", "pip", "wheel", *options, "-w", "wheels", archive], folder)
    (path,) = (folder / "wheels").iterdir()
    return path


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """``command("train", ...)`` calls ``mink-pd`` of the environment in a folder of its own.

    The environment holds the wheel; the packages below are those of the running Python, by a path file, which does
    not bring an editable install along.
    """
    folder = tmp_path_factory.mktemp("user")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    call(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel],
        folder,
    )
    below = sysconfig.get_path("purelib")
    own = Path(call([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).stdout.strip())
    (own / "below.pth").write_text(f"{below}\n")
    place = call([python, "-c", "import mink_pd; print(mink_pd.__file__)"], folder).stdout
    assert Path(place.strip()).parents[1] == own
    return lambda *words: call([folder / "venv" / "bin" / "mink-pd", *words], folder, check=False)


def call(words: list, folder: Path, check: bool = True) -> CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(list(map(str, words)), cwd=folder, env=environment, capture_output=True, text=True)
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


def test_it_holds_every_configuration(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        found = {
            name.removeprefix("mink_pd/configs/")
            for name in archive.namelist()
            if re.fullmatch(r"mink_pd/configs/.*[.]yaml", name)
        }
    assert found == {str(path.relative_to(ROOT / "configs")) for path in (ROOT / "configs").rglob("*.yaml")}


def test_it_simulates_trains_and_detects(command: Command, tmp_path: Path) -> None:
    data = tmp_path / "data"
    steps = (
        ("simulate-kitti", data, "--train", "2", "--val", "1"),
        ("train", "pointpillars_simulator", f"data.root={data}", "name=tiny", f"runs={tmp_path}", *TINY),
        ("detect", tmp_path / "tiny", data / "training" / "velodyne", "--out", tmp_path / "out"),
    )
    for step in steps:
        result = command(*step)
        assert result.returncode == 0, result.stdout + result.stderr
    detections = sorted((tmp_path / "out").glob("*.txt"))
    assert [path.stem for path in detections] == ["000000", "000001", "000002"]
    assert all(path.read_text().startswith(("Car ", "Pedestrian ", "Cyclist ")) for path in detections)


def test_a_name_that_is_not_shipped_is_one_line(command: Command) -> None:
    result = command("train", "pointpillars_kiti")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "did you mean pointpillars_kitti" in result.stderr
