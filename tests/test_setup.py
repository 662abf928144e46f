"""The set-up's promises: what makes it run again, no stale or half-built wheel, errors of one line."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"
sys.path.insert(0, str(TOOLS))
import setup as tool  # noqa: E402
import setup_system  # noqa: E402
import setup_target  # noqa: E402

VERSIONS = {"rich": "15"}
CPU = setup_target.Target()
STATE = {"python": "3.11.7", "tag": "cp311", "prefix": "/env", "torch": "2.13.0+cpu", "versions": VERSIONS}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINK_PD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def fake_python(folder: Path, body: str) -> Path:
    """An executable that stands for the environment's interpreter; ``$out`` is where ``-w`` points."""
    path = folder / "bin" / "python"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nwhile [ "$1" != -w ]; do shift; done\nout=$2\n{body}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize("key", ["torch", "python", "prefix"])
def test_fingerprint_changes_with_the_environment(key: str) -> None:
    assert tool.fingerprint(STATE, CPU) == tool.fingerprint(dict(STATE), CPU)
    assert tool.fingerprint(STATE, CPU) != tool.fingerprint({**STATE, key: "another"}, CPU)
    assert tool.fingerprint(STATE, CPU) != tool.fingerprint({**STATE, "versions": {"rich": "14"}}, CPU)


def test_fingerprint_changes_with_the_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tool.fingerprint(STATE, CPU)
    pins = tmp_path / "requirements.txt"
    pins.write_text(tool.REQUIREMENTS.read_text() + "left-pad==1.0\n")
    monkeypatch.setattr(tool, "REQUIREMENTS", pins)
    assert tool.fingerprint(STATE, CPU) != before


def test_a_wheel_of_another_torch_or_python_is_never_found(cache: Path) -> None:
    folder = tool.wheel_folder(STATE, CPU)
    assert folder.name == "torch-2.13.0+cpu-cp311-cpu"
    folder.mkdir(parents=True)
    wheel = folder / f"minkowskiengine-0.5.4-cp311-cp311-linux_{os.uname().machine}.whl"
    wheel.touch()
    assert tool.find_wheel(folder, "0.5.4") == wheel
    assert tool.find_wheel(folder, "0.5.5") is None
    for other in ({"torch": "2.14.0+cpu"}, {"torch": "2.13.0+cu130"}, {"tag": "cp312"}):
        assert tool.find_wheel(tool.wheel_folder({**STATE, **other}, CPU), "0.5.4") is None


def test_a_failed_build_leaves_no_wheel_and_names_its_log(cache: Path, tmp_path: Path) -> None:
    wheel = f"minkowskiengine-0.5.4-cp311-cp311-linux_{os.uname().machine}.whl"
    body = f'echo "x.cpp:1: fatal error: cblas.h: no such file" >&2; echo half > "$out/{wheel}"; exit 1'
    folder = tool.wheel_folder(STATE, CPU)
    with pytest.raises(setup_system.SetupError, match=r"cblas\.h.*build\.log") as error:
        tool.build_wheel(fake_python(tmp_path, body), STATE, CPU, "0.5.4", [])
    assert "\n" not in str(error.value)
    assert [path.name for path in folder.iterdir()] == ["build.log"]
    assert "fatal error" in (folder / "build.log").read_text()


def test_a_build_shows_progress_and_its_wheel_is_found(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = f"minkowskiengine-0.5.4-cp311-cp311-linux_{os.uname().machine}.whl"
    body = f'echo "  [1/2] c++ a"; echo noise; echo "  [2/2] c++ b"; echo whole > "$out/{wheel}"'
    folder = tool.wheel_folder(STATE, CPU)
    built = tool.build_wheel(fake_python(tmp_path, body), STATE, CPU, "0.5.4", [])
    assert tool.find_wheel(folder, "0.5.4") == built
    assert built.read_text() == "whole\n"
    shown = capsys.readouterr().out
    assert "1 of 2 files" in shown
    assert "2 of 2 files" in shown
    assert "noise" not in shown


def test_a_damaged_wheel_of_the_cache_is_built_anew(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip fails here whatever it gets (/bin/false); the second try must not find the first one's wheel."""
    folder = tool.wheel_folder(STATE, CPU)
    folder.mkdir(parents=True)
    wheel = folder / f"minkowskiengine-0.5.4-cp311-cp311-linux_{os.uname().machine}.whl"
    wheel.write_text("damaged")
    built: list[Path] = []

    def build(*arguments: object) -> Path:
        assert not wheel.exists()
        built.append(wheel)
        return wheel

    monkeypatch.setattr(tool, "probe", lambda python: STATE)
    monkeypatch.setattr(tool, "build_wheel", build)
    monkeypatch.setattr(tool, "read_pins", lambda: {"MinkowskiEngine": "0.5.4"})
    with pytest.raises(setup_system.SetupError, match=r"pip install MinkowskiEngine failed"):
        tool.install_minkowski(Path("/bin/false"), CPU, [], cache / "setup.log")
    assert built == [wheel]


def test_missing_packages_without_root_are_one_line(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_system, "as_root", lambda: None)
    with pytest.raises(setup_system.SetupError, match=r"apt-get install .*libgl1 libusb-1.0-0") as error:
        setup_system.install_system_packages(["libgl1", "libusb-1.0-0"], cache / "setup.log")
    assert "\n" not in str(error.value)


def test_another_python_is_refused_in_one_line() -> None:
    code = "import sys; sys.version_info = (3, 9, 1); import setup; sys.argv = ['setup.py']; setup.main()"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=TOOLS, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("setup: error: Python 3.11 or 3.12 is needed")
    assert result.stderr.count("\n") == 1


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("four years")
    with pytest.raises(setup_system.SetupError, match="is not a virtual environment"):
        tool.create_environment(tmp_path, tmp_path / "log")
    assert (tmp_path / "thesis.txt").exists()


def test_probe_reads_this_environment() -> None:
    state = tool.probe(Path(sys.executable))
    assert state is not None
    assert state["prefix"] == sys.prefix
    assert state["versions"]["pytest"] == pytest.__version__
    assert json.loads(json.dumps(state)) == state
    assert tool.probe(Path("/no/such/python")) is None


def test_the_devkit_of_nuscenes_goes_in_without_its_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(tool, "run_logged", lambda command, *_: calls.append([str(part) for part in command]))
    tool.install_python_packages(Path("python"), CPU, ["--quiet"], Path("log"))
    (devkit,) = (call for call in calls if any("nuscenes" in part for part in call))
    assert devkit[-2:] == ["--no-deps", f"nuscenes-devkit=={tool.read_pins()['nuscenes-devkit']}"]
    others = {part for call in calls for part in call if "==" in part} - set(devkit)
    assert {part.split("==")[0] for part in others} == tool.read_pins().keys() - {"MinkowskiEngine", "nuscenes-devkit"}
