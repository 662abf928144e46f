"""Does my GPU set-up work? Builds, tests, compares, measures, and writes one report (docs/gpu.md).

Each stage runs in its own process with a time limit. If a stage fails or hangs, the results of the others remain.
Results are kept, so that a later call with ``--only`` adds to the report. This script uses only the standard library,
because nothing else may be installed yet.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from gpu_report import Result, markdown, read_results, tail, test_lines, write_result
from setup_cuda import find_toolkit
from setup_system import SetupError

ROOT = Path(__file__).resolve().parents[1]
LEAST = 5  # a stage only starts with this many seconds left
GRACE = 10  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Stage:
    """A part of the check, which runs either tests or a module."""

    name: str
    what: str  # it does, for the reader
    limit: int  # time limit [s]
    tests: str = ""  # a file of ``tests/gpu``
    module: str = ""  # run with ``python -m``


STAGES = (
    Stage("build", "MinkowskiEngine for this GPU, in a separate environment unless it is installed", 400),
    Stage("layers", "tests of voxels and sparse layers", 120, tests="test_gpu_layers.py"),
    Stage("detectors", "tests of the detectors", 120, tests="test_gpu_detectors.py"),
    Stage("distillation", "tests of the distillation methods", 120, tests="test_gpu_distillation.py"),
    Stage("training", "tests of training, resuming and reading on the CPU", 120, tests="test_gpu_training.py"),
    Stage("agreement", "outputs, losses and gradients of full-size detectors, on CPU and GPU", 150,
          module="benchmarks.gpu.agreement"),
    Stage("speed", "training and distillation steps, with our layers and with MinkowskiEngine's", 150,
          module="benchmarks.gpu.speed"),
)  # fmt: skip
NAMES = [stage.name for stage in STAGES]


def check(options: argparse.Namespace) -> bool:
    """Run the stages; return whether all that ran have passed. The report is updated after each stage."""
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * options.minutes
    machine = describe_machine(options.device)
    ran = []
    for stage in STAGES:
        if options.only and stage.name not in options.only:
            continue
        left = min(stage.limit, end - time.monotonic())
        print(f"{stage.name}: {stage.what} ...", flush=True)
        begin = time.monotonic()
        result = run_stage(stage, options, left)
        result.seconds = time.monotonic() - begin
        result.when, result.device = time.strftime("%Y-%m-%d %H:%M:%S"), options.device
        write_result(options.out, result)
        ran.append(result)
        report(options, machine)
        print(f"{stage.name}: {result.state} ({result.seconds:.0f} s) {result.problem}", flush=True)
    print(f"written: {options.out / 'report.md'}")
    return all(result.state == "passed" for result in ran)


def report(options: argparse.Namespace, machine: list[str]) -> None:
    """Write the report from all stored results."""
    text = markdown(read_results(options.out, NAMES), machine, NAMES, options.device)
    temporary = options.out / "report.part"
    temporary.write_text(text)
    temporary.replace(options.out / "report.md")


def run_stage(stage: Stage, options: argparse.Namespace, seconds: float) -> Result:
    """Run one stage for at most ``seconds``. Its result records any failure."""
    if seconds < LEAST:
        return Result(stage.name, "skipped", problem=f"no time was left; run it alone: --only {stage.name}")
    log, outcome = options.out / f"{stage.name}.log", options.out / f"{stage.name}.json"
    outcome.unlink(missing_ok=True)
    try:
        command = command_of(stage, options, outcome)
        code = run_limited(command, log, environment_of(options.device), seconds)
    except (SetupError, OSError) as error:
        return Result(stage.name, "failed", problem=str(error))
    if code is None:
        return Result(stage.name, "failed", problem=f"stopped after {seconds:.0f} s; the log is {log}", lines=tail(log))
    if not outcome.exists():
        printed = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] or ["no output"]
        problem = next((line for line in printed if line.startswith("error: ")), printed[-1])
        return Result(stage.name, "failed", problem=problem[:300], lines=tail(log))
    if stage.tests:
        lines, problem = test_lines(outcome)
        return Result(stage.name, "failed" if problem or code else "passed", problem=problem, lines=lines)
    found = json.loads(outcome.read_text())
    state, problem = ("passed", "") if found["ok"] else ("failed", "a difference is above its bound")
    return Result(stage.name, state, problem=problem, lines=found["lines"], figures=found["figures"])


def command_of(stage: Stage, options: argparse.Namespace, outcome: Path) -> list[str]:
    """The command line of a stage."""
    if stage.name == "build":
        command = [sys.executable, str(ROOT / "tools" / "gpu_environment.py"), "--device", options.device]
        command += ["--folder", str(options.out), "--json", str(outcome)]
        return [*command, "--wheels", str(options.wheels)] if options.wheels else command
    python = interpreter(options.out)
    if stage.tests:
        limit = ["-o", f"timeout={stage.limit}", "-p", "no:cacheprovider"]
        return [
            python,
            "-m",
            "pytest",
            "-q",
            str(ROOT / "tests" / "gpu" / stage.tests),
            f"--junitxml={outcome}",
            *limit,
        ]
    tiny = ["--tiny"] if options.tiny else []
    return [python, "-m", stage.module, "--device", options.device, "--json", str(outcome), *tiny]


def interpreter(folder: Path) -> str:
    """The Python that the last build stage found or made; the running one if there was no build stage."""
    kept = folder / "build.json"
    return json.loads(kept.read_text())["python"] if kept.exists() else sys.executable


def environment_of(device: str) -> dict[str, str]:
    """Environment variables of the stages: mink_pd of this checkout, and tests on the GPU or on a simulated one."""
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    own = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "MINK_PD_TEST_GPU": "1" if device == "cuda" else "0"}
    return {**os.environ, **own}


def run_limited(command: list[str], log: Path, environment: dict[str, str], seconds: float) -> int | None:
    """Run a command with its output in a log; return its exit code, or None if it was stopped at the time limit."""
    with log.open("w") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment, cwd=ROOT,
            start_new_session=True,  # its own process group, which can be stopped as a whole
        )  # fmt: skip
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Stop a process and all that it has started: first with SIGTERM, because it may have to stop others."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def describe_machine(device: str) -> list[str]:
    """Lines about GPU, driver, compiler and processor, including those that were not found."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version,compute_cap", "--format=csv,noheader"]
    gpu = _output(query) or "nvidia-smi shows no GPU"
    try:
        toolkit = find_toolkit()
        compiler = f"{toolkit} ({toolkit.nvcc})"
    except SetupError as error:
        compiler = str(error)
    commit = _output(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]) or "unknown"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        f"- GPU: {gpu}" + (" (not used)" if device == "cpu" else ""),
        f"- nvcc: {compiler}",
        f"- Python {platform.python_version()}, {cores} cores, {memory:.0f} GiB of memory",
        f"- commit {commit}, {time.strftime('%Y-%m-%d %H:%M:%S')}",
    ]


def _output(command: list[str]) -> str:
    """The output of a command, with its lines joined; empty if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "; ".join(done.stdout.split("\n")).strip("; ") if done.returncode == 0 else ""


def positive(text: str) -> float:
    """A number above 0."""
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return float(text)


def main() -> None:
    """Exit code 0 if every stage that ran passed, else 1; 2 for a wrong command line."""
    arguments = argparse.ArgumentParser(
        description="Does my GPU set-up work? Builds, tests, compares with the CPU, measures, and writes one report.",
        epilog="Stages: " + "; ".join(f"{stage.name}: {stage.what}" for stage in STAGES) + ".",
    )
    arguments.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal without a GPU")
    arguments.add_argument("--only", nargs="+", choices=NAMES, metavar="STAGE", help="run only these stages")
    arguments.add_argument("--wheels", type=Path, metavar="FOLDER", help="packages, for a machine without a registry")
    out = ROOT / "build" / "check_gpu"
    arguments.add_argument("--out", type=Path, default=out, metavar="FOLDER", help=f"report and logs (default {out})")
    arguments.add_argument(
        "--minutes", type=positive, default=10, help="time limit of all stages together (default 10)"
    )
    arguments.add_argument("--tiny", action="store_true", help="small networks in the last two stages")
    options = arguments.parse_args()
    if options.wheels is not None and not options.wheels.is_dir():
        arguments.error(f"--wheels: {options.wheels} is not a folder")
    options.out = options.out.resolve()
    options.wheels = options.wheels.resolve() if options.wheels else None
    try:
        passed = check(options)
    except KeyboardInterrupt:
        sys.exit("interrupted; the results so far are kept, --only runs the remaining stages")
    except OSError as error:
        arguments.error(f"{error}; --out names another folder for the report")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
