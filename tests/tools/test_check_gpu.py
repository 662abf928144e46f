"""tools/check_gpu.py: one report whatever fails, and a rehearsal of what it compares and measures."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import agreement, frames, speed

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import check_gpu  # noqa: E402
import gpu_environment  # noqa: E402
import gpu_report  # noqa: E402

PASSES = "import json, sys; json.dump({'ok': True, 'lines': ['it works'], 'figures': []}, open(sys.argv[1], 'w'))"
DIFFERS = PASSES.replace("True", "False")
CODES = {
    "passes": PASSES,
    "fails": "import sys; print('half way'); sys.exit('error: no compiler | of any kind')",
    "hangs": "import time; time.sleep(60)",
    "differs": DIFFERS,
}


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four stages that run a line of Python each, in place of the real ones."""
    made = tuple(
        check_gpu.Stage(name, f"stage that {name}", 1 if name == "hangs" else 60, module="x") for name in CODES
    )
    monkeypatch.setattr(check_gpu, "STAGES", made)
    monkeypatch.setattr(check_gpu, "NAMES", list(CODES))
    monkeypatch.setattr(check_gpu, "LEAST", 0.1)
    monkeypatch.setattr(
        check_gpu, "command_of", lambda stage, options, out: [sys.executable, "-c", CODES[stage.name], str(out)]
    )


def options(folder: Path, only: list[str] | None = None, minutes: float = 1.0) -> argparse.Namespace:
    return argparse.Namespace(out=folder, only=only, minutes=minutes, device="cpu", tiny=True, wheels=None)


@pytest.mark.usefixtures("stages")
def test_a_stage_that_fails_or_hangs_leaves_the_others(tmp_path: Path) -> None:
    assert not check_gpu.check(options(tmp_path))
    report = (tmp_path / "report.md").read_text()
    rows = {line.split("|")[1].strip(): line for line in report.splitlines() if line.startswith("| ")}
    assert "| passed |" in rows["passes"]
    assert "| failed |" in rows["fails"]
    assert "no compiler \\| of any kind" in rows["fails"]
    assert "stopped after 1 s" in rows["hangs"]
    assert "above its bound" in rows["differs"]
    assert report.count("it works") == 2
    assert "half way" in report  # the end of the failed stage's log
    assert "A rehearsal on the CPU" in report


@pytest.mark.usefixtures("stages")
def test_stages_can_be_run_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_gpu.check(options(tmp_path, ["passes"]))
    assert "| fails | not run |" in (tmp_path / "report.md").read_text()
    monkeypatch.setitem(CODES, "fails", PASSES)
    assert check_gpu.check(options(tmp_path, ["fails"]))
    report = (tmp_path / "report.md").read_text()
    assert "| passes | passed |" in report
    assert "| fails | passed |" in report


@pytest.mark.usefixtures("stages")
def test_without_time_a_stage_is_skipped(tmp_path: Path) -> None:
    assert not check_gpu.check(options(tmp_path, ["passes"], minutes=1e-6))
    assert "--only passes" in (tmp_path / "report.md").read_text()


def test_failed_tests_are_named(tmp_path: Path) -> None:
    """pytest itself writes the file that is read."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\ndef test_right(): pass\ndef test_wrong(): assert 1 == 2, 'one is not two'\n"
        "def test_later(): pytest.skip('no GPU')\n"
    )
    out = tmp_path / "out.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path), f"--junitxml={out}"]
    bare = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run([*command, "-c", os.devnull], cwd=tmp_path, capture_output=True, env=bare)
    lines, problem = gpu_report.test_lines(out)
    assert lines[0] == "1 tests passed, 1 failed, 1 skipped."
    assert "test_wrong" in lines[1]
    assert "one is not two" in lines[1]
    assert problem == "1 of 3 tests failed"


def test_the_command_line_names_what_is_wrong(tmp_path: Path) -> None:
    for words, message in (
        (["--only", "nothing"], "invalid choice"),
        (["--minutes", "0"], "not above 0"),
        (["--wheels", str(tmp_path / "none")], "is not a folder"),
    ):
        command = [sys.executable, str(ROOT / "tools" / "check_gpu.py"), *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        assert message in done.stderr


def test_every_stage_runs_something_that_is_there(tmp_path: Path) -> None:
    for stage in check_gpu.STAGES:
        command = check_gpu.command_of(stage, options(tmp_path), tmp_path / "out.json")
        files = [word for word in command[1:] if word.startswith(str(ROOT))]
        module = ROOT / f"{stage.module.replace('.', '/')}.py"
        assert all(Path(file).exists() for file in files)
        assert files or module.exists()


def test_the_environment_sees_the_packages_of_the_running_python(tmp_path: Path) -> None:
    python = gpu_environment.create_environment(tmp_path / "env")
    assert gpu_environment.missing_modules(python) == []
    assert Path(gpu_environment.create_environment(tmp_path / "env")) == python  # a second time
    code = "import sys; print(sys.prefix)"
    assert subprocess.check_output([python, "-c", code], text=True).strip() == str(tmp_path / "env")


def test_a_packaged_openblas_serves_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up package whose one function has the prefix; a program that calls it by its usual name."""
    package = tmp_path / "site" / gpu_environment.BLAS
    (package / "include").mkdir(parents=True)
    (package / "lib").mkdir()
    folder = "import os\n_here = os.path.dirname(__file__)\n"
    functions = [f"def get_{name}_dir(): return os.path.join(_here, '{name}')\n" for name in ("include", "lib")]
    (package / "__init__.py").write_text(folder + "".join(functions))
    (package / "include" / "cblas.h").write_text("int scipy_cblas_saxpy(int);\n")
    library = package / "lib" / "libscipy_openblas.so"
    (tmp_path / "blas.c").write_text("int scipy_cblas_saxpy(int n) { return n + 1; }\n")
    link = ["-shared", "-fPIC", "-Wl,-soname,libscipy_openblas.so", "-o", str(library)]
    subprocess.run(["cc", str(tmp_path / "blas.c"), *link], check=True)
    for name in ("CPATH", "LDFLAGS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    gpu_environment.use_packaged_openblas(Path(sys.executable), tmp_path / "blas")
    (tmp_path / "main.c").write_text("#include <cblas.h>\nint main(void) { return cblas_saxpy(41); }\n")
    program = tmp_path / "main"
    flags = os.environ["LDFLAGS"].split()
    subprocess.run(["cc", str(tmp_path / "main.c"), "-o", str(program), "-lopenblas", *flags], check=True)
    assert subprocess.run([str(program)]).returncode == 42


def test_cast_points_lie_on_surfaces() -> None:
    """Most points are on the road, some on the surfaces of the objects."""
    frame = frames.cast_frame(0)
    assert 10_000 < len(frame.points) < 30_000
    assert len(frame.boxes) == len(frame.names) == sum(frames.COUNTS.values())
    points = frame.points[:, :3].astype(np.float64)
    on_road = np.abs(points[:, 2] - frames.GROUND) < 0.2
    assert 0.3 < on_road.mean() < 1
    on_boxes = 0
    for box in frame.boxes:
        offset, cos, sin = points - box[:3], np.cos(box[6]), np.sin(box[6])
        own = np.stack([offset[:, 0] * cos + offset[:, 1] * sin, offset[:, 1] * cos - offset[:, 0] * sin, offset[:, 2]])
        depth = (box[3:6, None] / 2 - np.abs(own)).min(axis=0)  # (P,), how far below the box's surface
        on_boxes += int((np.abs(depth) < 0.1).sum())
    assert on_boxes > 300


@pytest.fixture
def one_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (agreement, speed):
        monkeypatch.setattr(module, "DETECTORS", ("PointPillars",))


@pytest.mark.usefixtures("one_detector")
def test_a_rehearsal_of_the_comparison() -> None:
    outcome = agreement.compare("cpu", tiny=True)
    assert outcome.ok
    assert [figure["step"] for figure in outcome.figures] == list(agreement.WORK)
    assert all(0 < figure["gradient"] < 1e-3 for figure in outcome.figures)
    json.dumps(vars(outcome))


def test_a_wrong_gradient_or_output_is_seen() -> None:
    def result(**change: Any) -> agreement.Result:
        places, features = np.arange(6.0).reshape(3, 2), np.ones((3, 4))
        taps = {name: (places, features) for name in agreement.TAPS}
        made = {"taps": taps, "losses": {"a": 2.0}, "gradients": {"w": np.ones(4), "b": np.ones(2)}} | change
        return agreement.Result(**made)

    same = agreement.differences(result(), result())
    assert (same["outputs"], same["losses"], same["gradient"]) == (0, 0, 0)
    other = agreement.differences(result(), result(gradients={"w": np.array([1, 1, 1, 0.0]), "b": np.ones(2)}))
    assert other["gradient"] == pytest.approx((1 / 6) ** 0.5)
    assert (other["name"], other["parameter"]) == ("w", pytest.approx(0.5))
    assert agreement.differences(result(), result(losses={"a": 2.5}))["losses"] == pytest.approx(0.25)
    moved = {name: (np.arange(6.0).reshape(3, 2) + 1, np.ones((3, 4))) for name in agreement.TAPS}
    assert agreement.differences(result(), result(taps=moved))["outputs"] == np.inf
    assert agreement.differences(result(), result(gradients={"w": np.ones(4)}))["gradient"] == np.inf


@pytest.mark.usefixtures("one_detector")
def test_a_rehearsal_of_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "REPEATS", 1)
    monkeypatch.setattr(speed, "WARM_UP", 1)
    outcome = speed.measure("cpu", tiny=True)
    assert [figure["step"] for figure in outcome.figures] == list(agreement.WORK)
    assert all(min(figure["ms"]) > 0 for figure in outcome.figures)


def test_stock_layers_compute_what_ours_do() -> None:
    inputs = speed.inputs_of("PointPillars", tiny=True)
    batch = inputs.batch(1)
    losses = []
    for change in (lambda network: None, speed.use_stock_layers):
        terms, _ = speed.objective_of(inputs.config, speed.WORK[0], change)(batch)
        losses.append(float(sum(terms.values()).detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
