"""libminkpd and minkpd-detect as a user without Python has them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_cases import HEADER, RANGE, SMALL, Built, cloud, linked, tuned

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
        (("--columns", "x,y,z", student, points), "names no intensity; the detector takes x, y, z, intensity"),
        (("--columns", "x,y,z,ring", student, points), "'ring' is none of x, y, z, intensity, lag; write _"),
        (("--columns", "x,y,z,x", student, points), "--columns: names x twice"),
        (("--columns", "", student, points), "--columns: names no x"),
        (("--columns", "x,y,z,intensity,_,_,_", student, points), "7 float32 a point (x,y,z,intensity,_,_,_)"),
        (("--columns", "7", student, points), "7 float32 a point (x,y,z,intensity,_,_,_)"),
        (("--columns", "3", student, points), "names no intensity; the detector takes x, y, z, intensity"),
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


def boxes_of(done: subprocess.CompletedProcess) -> np.ndarray:
    """The boxes (B, 7) that the command printed for one cloud."""
    assert done.returncode == 0, done.stderr
    return np.array([one["box"] for one in json.loads(done.stdout)["boxes"]])


@pytest.mark.parametrize(("intensity", "scale"), [("by_type", 1), (255, 255), ("none", 0)])
def test_the_command_scales_intensities_as_the_training_data(
    intensity: float | str, scale: float, built: Built, tmp_path: Path
) -> None:
    settings = CONFIG.model_dump() | {"data": CONFIG.data.model_dump() | {"intensity": intensity}}
    student, file = tmp_path / "student.mpd", tmp_path / "cloud.bin"
    student.write_bytes(engine_file(tuned(Config.model_validate(settings))))
    points = cloud(CONFIG).points
    expected = Engine(student.read_bytes()).detect(points * np.array([1, 1, 1, scale > 0], np.float32)).boxes
    (points * np.array([1, 1, 1, scale or 7], np.float32)).tofile(file)
    boxes = boxes_of(run(built.command, student, file))
    assert len(boxes) > 5
    assert np.allclose(boxes, expected, atol=1e-3)
    if scale:
        points[:50, 3] = scale * 1.5  # of 4,000: more than retroreflectors
        points.tofile(file)
        done = run(built.command, student, file)
        assert done.returncode == 2
        assert f"has intensities up to {scale * 1.5:g}, the detector's training data up to {scale}" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_sweep_of_nuscenes_is_read_by_the_names_of_its_columns(built: Built, tmp_path: Path) -> None:
    student, file = tmp_path / "student.mpd", tmp_path / "sweep.pcd.bin"
    config = Config.model_validate(
        {"data": {"kind": "nuscenes", "range": RANGE}, "model": {**SMALL, "name": "centerpoint_pillars"}}
    )
    student.write_bytes(engine_file(tuned(config)))
    points = cloud(config).points
    points = points[: len(points) // 4 * 4]  # a file of five numbers a point that is one of four as well
    points[:, 4] = 0
    expected = Engine(student.read_bytes()).detect(points).boxes
    assert len(expected) > 5
    points[:, 3:] = np.column_stack([255 * points[:, 3], np.arange(len(points)) % 32])  # intensity and ring
    points.tofile(file)
    boxes = boxes_of(run(built.command, "--columns", "x,y,z,intensity,_", student, file))
    assert np.allclose(boxes, expected, atol=1e-3)
    done = run(built.command, "--columns", "5", student, file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--columns: the detector takes a lag; name the columns" in done.stderr
    for columns, fault in (("x,y,z,intensity,lag", "has time lags up to 31 s"), ("x,y,z,intensity", "has ")):
        done = run(built.command, "--columns", columns, student, file)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{file}: {fault}" in done.stderr
        assert f"are its columns {columns}?" in done.stderr


def test_numbers_that_are_no_cloud_are_refused(built: Built, files: tuple[Path, Path], tmp_path: Path) -> None:
    student, points = files
    right, file = np.fromfile(points, np.float32).reshape(-1, 4), tmp_path / "other.bin"
    random = np.random.default_rng(0)
    five = np.column_stack([right, random.uniform(0, 32, len(right)).astype(np.float32)])
    for wrong, fault in (
        (five[: len(five) // 4 * 4], "has intensities below 0"),  # whole points of four numbers
        (right.astype(np.float64), "has coordinates that are not metres"),
        (right * np.array([1000, 1000, 1000, 1], np.float32), "has coordinates that are not metres"),
        (random.integers(1, 1 << 16, (len(right), 4), np.int32), "has coordinates that are not metres"),
        (right - np.array([0, 0, 0, 1], np.float32), "has intensities below 0"),
    ):
        wrong.tofile(file)
        done = run(built.command, student, file)
        assert (done.returncode, done.stdout) == (2, ""), fault
        assert done.stderr.startswith(f"error: {file}: {fault}")
        assert done.stderr.count("\n") == 1
    spoilt = np.concatenate([right, np.full((9, 4), np.nan, np.float32), np.zeros((9, 4), np.float32)])
    spoilt[-9:, 3] = -1  # without a return
    spoilt.tofile(file)
    assert np.allclose(boxes_of(run(built.command, student, file)), boxes_of(run(built.command, student, points)))


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
