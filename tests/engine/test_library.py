"""libminkpd and minkpd-detect as a user without Python has them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_cases import HEADER, Built, cloud, linked, tuned

import mink_pd
from mink_pd.config import Config
from mink_pd.detect.engine import Engine
from mink_pd.detect.engine_file import VERSION, engine_file

DOCS = Path(__file__).parents[2] / "docs/engine.md"
CONFIG = Config.model_validate({
    "data": {"range": [0.0, -10.0, -3.0, 25.6, 10.0, 1.0]},
    "model": {"voxel_size": [0.2, 0.2, 4.0], "pillar_channels": 16, "channels": [16, 16, 16], "layers": [1, 1, 1],
              "neck_channels": 16},
})  # fmt: skip

VOXELS = {
    "data": {"range": [0.0, -10.0, -3.0, 25.6, 10.0, 1.0]},
    "model": {"name": "second", "voxel_size": [0.1, 0.1, 0.1], "encoder_channels": [4, 8, 8, 8, 8], "channels": [8, 8],
              "layers": [1, 1], "neck_channels": 8},
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A detector's file and a cloud."""
    student, points = tmp_path / "student.mpd", tmp_path / "a cloud.bin"
    student.write_bytes(engine_file(tuned(CONFIG)))
    cloud(CONFIG).points.tofile(points)
    return student, points


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)


def test_the_command_finds_what_python_finds(built: Built, files: tuple[Path, Path]) -> None:
    student, points = files
    expected = Engine(student.read_bytes()).detect(np.fromfile(points, np.float32).reshape(-1, 4))
    done = run(built.command, "--threads", 2, student, points, points)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first == second
    assert first["cloud"] == str(points)
    boxes = np.array([one["box"] for one in first["boxes"]])
    assert len(boxes) > 5
    assert np.allclose(boxes, expected.boxes, atol=1e-4)
    assert [one["class"] for one in first["boxes"]] == [CONFIG.data.classes[label] for label in expected.labels]
    assert np.allclose([one["score"] for one in first["boxes"]], expected.scores, atol=1e-4)
    higher = run(built.command, "--score", "0.3", student, points)
    assert len(json.loads(higher.stdout)["boxes"]) == int((expected.scores >= 0.3).sum())


def test_the_command_says_what_is_wrong_in_one_line(built: Built, files: tuple[Path, Path]) -> None:
    student, points = files
    for arguments, message in (
        ((student, "nowhere.bin"), "nowhere.bin: cannot be opened: No such file"),
        (("nowhere.mpd", points), "nowhere.mpd: cannot be opened: No such file"),
        ((points, points), f"{points}: is not a detector's file"),
        ((student.parent, points), f"{student.parent}: "),
        (("--columns", "3", student, points), "--columns: the detector sees 4 numbers"),
        (("--columns", "7", student, points), "is not made of 7 float32"),
        (("--score", "2", student, points), "--score: takes a number from 0 to 1"),
        (("--fast", student, points), "--fast: no such option"),
    ):
        done = run(built.command, *arguments)
        first, *rest = done.stderr.splitlines()
        assert done.returncode == 2
        assert done.stdout == ""
        assert first.startswith("error: ")
        assert message in first
        assert not rest or rest[0].startswith("usage: ")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_the_command_explains_its_options(built: Built, option: str) -> None:
    done = run(built.command, option)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("usage: minkpd-detect ")
    assert all(f"  {name} " in done.stdout for name in ("--columns", "--score", "--threads", "--repeat"))


def test_damaged_and_newer_files_are_refused(built: Built, files: tuple[Path, Path]) -> None:
    student, points = files
    content = student.read_bytes()
    random = np.random.default_rng(0)
    damaged = student.with_name("damaged.mpd")
    places = [0, 7, 8, 12, 16, 24, 31, 32, 40, 100, len(content) - 1, *random.integers(0, len(content), 30).tolist()]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << int(random.integers(8))
        damaged.write_bytes(changed)
        done = run(built.command, damaged, points)
        assert (done.returncode, done.stdout) == (2, ""), place
        assert len(done.stderr.splitlines()) == 1
        assert str(damaged) in done.stderr
    for length in (0, 1, 20, 32, 39, 1000, len(content) - 1):
        damaged.write_bytes(content[:length])
        assert run(built.command, damaged, points).returncode == 2, length
    damaged.write_bytes(content + b"\0")
    assert run(built.command, damaged, points).returncode == 2
    damaged.write_bytes(content[:8] + (VERSION + 1).to_bytes(4, "little") + content[12:])
    done = run(built.command, damaged, points)
    assert f"has version {VERSION + 1}, this library reads version {VERSION}; " in done.stderr


def test_the_example_of_the_docs_compiles_and_runs(built: Built, files: tuple[Path, Path], tmp_path: Path) -> None:
    student, points = files
    (program,) = re.findall(r"```c\n(.*?)```", DOCS.read_text(), re.DOTALL)
    source = tmp_path / "example.c"
    source.write_text(program)
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    assert compiler is not None
    options = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{HEADER.parent}", f"-L{built.folder}"]
    subprocess.run(
        [compiler, *options, source, "-lminkpd", f"-Wl,-rpath,{built.folder}", "-o", source.stem],
        check=True,
        cwd=tmp_path,
    )
    done = run(tmp_path / source.stem, student, points)
    assert done.returncode == 0, done.stderr
    expected = json.loads(run(built.command, student, points).stdout)["boxes"]
    assert [line.split()[0] for line in done.stdout.splitlines()] == [one["class"] for one in expected]
    assert run(tmp_path / source.stem, points, points).returncode == 1


def test_no_memory_is_allocated_once_a_detector_is_warm(built: Built, files: tuple[Path, Path], tmp_path: Path) -> None:
    student, points = files
    model = CONFIG.model.model_dump(include={"voxel_size", "pillar_channels", "channels", "layers", "neck_channels"})
    centres = {
        "data": CONFIG.data.model_dump(),
        "model": {**model, "name": "centerpoint_pillars", "pillar_layers": [8]},
    }
    others = [tmp_path / "centres.mpd", tmp_path / "voxels.mpd"]
    for other, settings in zip(others, (centres, VOXELS), strict=True):
        other.write_bytes(engine_file(tuned(Config.model_validate(settings))))
    program = linked(Path(__file__).with_name("allocations.cpp"), built, tmp_path / "allocations")
    for file in (student, *others):
        done = run(program, file, points)
        assert done.returncode == 0, done.stderr
        warm, later = map(int, done.stdout.split())
        assert warm > 100
        assert later == 0


def test_the_library_needs_no_other_and_shows_only_its_interface(built: Built) -> None:
    library = built.folder / "libminkpd.so"
    if shutil.which("readelf") is None:
        pytest.skip("no readelf here")
    needed = set(re.findall(r"NEEDED.*\[(.*?)\]", run("readelf", "-d", library).stdout))
    allowed = ("libstdc++.so", "libm.so", "libgcc_s.so", "libc.so", "libpthread.so", "ld-linux")
    assert needed
    assert all(name.startswith(allowed) for name in needed)
    assert library.stat().st_size < 2_000_000
    symbols = run("nm", "-D", "--defined-only", library).stdout.splitlines()
    shown = {line.split()[-1] for line in symbols if line.split()[-2] in "TDB"}
    declared = set(re.findall(r"\b(minkpd_\w+)\(", HEADER.read_text()))
    assert len(declared) > 10
    assert shown == declared


def test_versions_agree() -> None:
    assert f'#define MINKPD_VERSION "{mink_pd.__version__}"' in HEADER.read_text()


def test_a_file_holds_a_plain_safetensors_file(files: tuple[Path, Path]) -> None:
    from safetensors.torch import load

    tensors = load(files[0].read_bytes()[32:])
    assert tensors["stages.0.0.weight"].shape == (9, 16, 16)
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
