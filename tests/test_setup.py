"""The set-up's promises: what makes it run again, no stale or half-built wheel, errors of one line."""

import io
import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"
sys.path.insert(0, str(TOOLS))
import setup as tool  # noqa: E402
import setup_minkowski  # noqa: E402
import setup_progress  # noqa: E402
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
    folder = setup_minkowski.wheel_folder("2.13.0+cpu", "cp311", CPU)
    assert folder.name == "torch-2.13.0+cpu-cp311-cpu"
    folder.mkdir(parents=True)
    wheel = folder / f"minkowskiengine-0.5.4-cp311-cp311-linux_{os.uname().machine}.whl"
    wheel.touch()
    assert setup_minkowski.find_wheel(folder, "0.5.4") == wheel
    assert setup_minkowski.find_wheel(folder, "0.5.5") is None
    for other in (("2.14.0+cpu", "cp311"), ("2.13.0+cu130", "cp311"), ("2.13.0+cpu", "cp312")):
        assert setup_minkowski.find_wheel(setup_minkowski.wheel_folder(*other, CPU), "0.5.4") is None
    pins = {"torch": "2.13.0", "MinkowskiEngine": "0.5.4"}
    assert setup_minkowski.may_be_cached(pins, "cp311", CPU)
    assert not setup_minkowski.may_be_cached(pins, "cp312", CPU)
    assert not setup_minkowski.may_be_cached(pins | {"torch": "2.14.0"}, "cp311", CPU)


def test_a_failed_build_leaves_no_wheel_and_names_its_log(cache: Path, tmp_path: Path) -> None:
    wheel = f"minkowskiengine-0.5.4-cp311-cp311-linux_{os.uname().machine}.whl"
    body = f'echo "x.cpp:1: fatal error: cblas.h: no such file" >&2; echo half > "$out/{wheel}"; exit 1'
    folder = setup_minkowski.wheel_folder("2.13.0+cpu", "cp311", CPU)
    with pytest.raises(setup_system.SetupError, match=r"cblas\.h.*build\.log") as error:
        setup_minkowski.build_wheel(fake_python(tmp_path, body), STATE, CPU, "0.5.4", [])
    assert "\n" not in str(error.value)
    assert [path.name for path in folder.iterdir()] == ["build.log"]
    assert "fatal error" in (folder / "build.log").read_text()


def test_a_build_shows_progress_and_its_wheel_is_found(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAX_JOBS", "2")
    wheel = f"minkowskiengine-0.5.4-cp311-cp311-linux_{os.uname().machine}.whl"
    body = f'echo "  [1/2] c++ a"; echo noise; echo "  [2/2] c++ b"; echo whole > "$out/{wheel}"'
    folder = setup_minkowski.wheel_folder("2.13.0+cpu", "cp311", CPU)
    built = setup_minkowski.build_wheel(fake_python(tmp_path, body), STATE, CPU, "0.5.4", [])
    assert setup_minkowski.find_wheel(folder, "0.5.4") == built
    assert built.read_text() == "whole\n"
    shown = capsys.readouterr().out
    assert "noise" not in shown
    assert "1 of 2 files compiled" not in shown  # of lines that cannot be rewritten there is one in half a minute
    assert "about 4 min left; preparing MinkowskiEngine" in shown


class Terminal(io.StringIO):
    """Standard output that can rewrite a line."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_line_of_what_runs_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    progress = setup_progress.Progress()
    progress.expect("engine", 290)
    progress.show("packages", "downloading torch")
    progress.show("engine", "7 of 31 files compiled")
    progress.say("a line that stays")
    progress.end("engine")
    drawn = [part for part in terminal.getvalue().split("\r\x1b[K") if part]
    assert drawn == [
        "setup: about 5 min left; downloading torch",
        "setup: about 5 min left; 7 of 31 files compiled; downloading torch",
        "setup: a line that stays\n",
        "setup: about 5 min left; 7 of 31 files compiled; downloading torch",
    ]


# --- MinkowskiEngine builds in the background ------------------------------------------------------


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Steps of the installation, replaced by notes of their names."""
    done: list[str] = []
    monkeypatch.setattr(tool, "probe", lambda python: STATE)
    for name in ("install_for_build", "install_python_packages", "install_ourselves", "install_wheel"):
        monkeypatch.setattr(tool, name, lambda *_, name=name: done.append(name))
    return done


def test_the_packages_go_in_while_minkowski_engine_builds(
    cache: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = threading.Event()

    def build(*_: object) -> Path:
        assert "install_for_build" in steps
        assert ours.wait(60), "nothing else was done during the build"
        steps.append("build")
        return cache / "x.whl"

    def note(*_: object) -> None:
        steps.append("install_ourselves")
        ours.set()

    monkeypatch.setattr(tool, "build_wheel", build)
    monkeypatch.setattr(tool, "install_ourselves", note)
    tool.install(Path("python"), CPU, [], cache / "log")
    assert steps == ["install_for_build", "install_python_packages", "install_ourselves", "build", "install_wheel"]


def test_a_failed_step_ends_the_build(cache: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    started, ended = threading.Event(), []

    def build(*_: object) -> Path:
        started.set()
        try:
            setup_system.run_logged(["sh", "-c", "sleep 100 & wait"], cache / "log", "the build")
        except setup_system.SetupError as error:
            ended.append(str(error))
            raise
        return cache / "x.whl"

    def fails(*_: object) -> None:
        assert started.wait(60)
        while not setup_system._running:
            time.sleep(0.01)
        raise setup_system.SetupError("the network is gone")

    monkeypatch.setattr(setup_system, "_stopped", threading.Event())
    monkeypatch.setattr(tool, "build_wheel", build)
    monkeypatch.setattr(tool, "install_python_packages", fails)
    with pytest.raises(setup_system.SetupError, match="the network is gone"):
        tool.install(Path("python"), CPU, [], cache / "log")
    assert ended == [f"the build failed; the whole log is {cache / 'log'}"]
    with pytest.raises(setup_system.SetupError, match="was stopped"):
        setup_system.run_logged(["true"], cache / "log", "the next command")


def test_a_damaged_wheel_of_the_cache_is_built_anew(
    cache: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second try must not find the first one's wheel; a new one that does not load is an error at once."""
    folder = setup_minkowski.wheel_folder("2.13.0+cpu", "cp311", CPU)
    folder.mkdir(parents=True)
    wheel = folder / f"minkowskiengine-0.5.4-cp311-cp311-linux_{os.uname().machine}.whl"
    wheel.write_text("damaged")

    def build(*_: object) -> Path:
        assert not wheel.exists()
        steps.append("build")
        return wheel

    monkeypatch.setattr(tool, "install_wheel", setup_minkowski.install_wheel)
    monkeypatch.setattr(tool, "build_wheel", build)
    for _ in range(2):
        with pytest.raises(setup_system.SetupError, match=r"cannot be read"):
            tool.install(Path("/bin/false"), CPU, [], cache / "setup.log")
        assert steps.count("build") == 1
        steps.clear()


def test_a_wheel_is_patched_for_new_pythons(tmp_path: Path) -> None:
    """The wheel package, which checks every file against RECORD, must take what comes out."""
    sources = {
        "MinkowskiEngine/common.py": "import os\nfrom collections import Sequence\n\nx = Sequence\n",
        "MinkowskiEngine/kernel.py": "from collections import Sequence, namedtuple\n\nx = Sequence, namedtuple\n",
        "MinkowskiEngine/other.py": "from collections import OrderedDict\n\nx = 'from collections import Sequence'\n",
    }
    (tmp_path / "in" / "MinkowskiEngine-0.5.4.dist-info").mkdir(parents=True)
    (tmp_path / "in" / "MinkowskiEngine").mkdir()
    for name, text in sources.items():
        (tmp_path / "in" / name).write_text(text)
    info = tmp_path / "in" / "MinkowskiEngine-0.5.4.dist-info"
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: MinkowskiEngine\nVersion: 0.5.4\n")
    packer = [sys.executable, "-m", "wheel"]
    subprocess.run([*packer, "pack", tmp_path / "in", "-d", tmp_path], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    setup_minkowski.patch_wheel(wheel)
    patched = wheel.stat().st_mtime_ns
    setup_minkowski.patch_wheel(wheel)
    assert wheel.stat().st_mtime_ns == patched  # nothing is left to patch
    subprocess.run([*packer, "unpack", wheel, "-d", tmp_path / "out"], check=True, capture_output=True)
    package = tmp_path / "out" / "MinkowskiEngine-0.5.4" / "MinkowskiEngine"
    for name in ("common", "kernel", "other"):
        found: dict[str, object] = {}
        exec((package / f"{name}.py").read_text(), found)
        assert "x" in found
    assert (package / "other.py").read_text() == sources["MinkowskiEngine/other.py"]


def test_minkowski_engine_is_imported_by_itself() -> None:
    subprocess.run([sys.executable, "-c", "import MinkowskiEngine"], check=True, capture_output=True)


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
    monkeypatch.setattr(tool, "check", lambda *_: None)
    tool.install_for_build(Path("python"), tool.read_pins(), ["--quiet"], Path("log"))
    tool.install_python_packages(Path("python"), tool.read_pins(), ["--quiet"], Path("log"))
    (devkit,) = (call for call in calls if any("nuscenes" in part for part in call))
    assert devkit[-2:] == ["--no-deps", f"nuscenes-devkit=={tool.read_pins()['nuscenes-devkit']}"]
    others = {part for call in calls for part in call if "==" in part} - set(devkit)
    assert {part.split("==")[0] for part in others} == tool.read_pins().keys() - {"MinkowskiEngine", "nuscenes-devkit"}
