"""The C++ example, built against the ONNX Runtime that the Python package ships, finds what the detector finds."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from export.conftest import clusters
from export.test_write import write
from models.frames import nuscenes, pointpillars

from mink_pd.config import Config
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate
from mink_pd.data.points import read_points
from mink_pd.export.detector import ExportedDetector

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "onnxruntime_cpp"
HEADER = "onnxruntime_c_api.h"
STAND_IN = Path(__file__).with_name("stand_in")
PLACES = ("/usr/include", "/usr/include/onnxruntime", "/usr/local/include", "/usr/local/include/onnxruntime")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built. ONNXRUNTIME_INCLUDE names the folder of ONNX Runtime's header, which no wheel ships; without
    it, and where none is installed, a header of ours declares what the example uses."""
    places = [Path(place) for place in (os.environ.get("ONNXRUNTIME_INCLUDE", ""), *PLACES) if place]
    include = next((place for place in places if (place / HEADER).is_file()), STAND_IN)
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("a C++ compiler is not here")
    capi = Path(onnxruntime.__file__).parent / "capi"
    library = next(iter(sorted(capi.glob("libonnxruntime.so.*"))), None)
    if library is None:
        pytest.skip(f"{capi} has no libonnxruntime.so")
    build = tmp_path_factory.mktemp("build")
    soname = build / "libonnxruntime.so.1"  # what the library calls itself
    soname.symlink_to(library)
    out = build / "out"
    define = [f"-DONNXRUNTIME_INCLUDE={include}", f"-DONNXRUNTIME_LIBRARY={soname}"]
    commands = [["cmake", "-S", SOURCE, "-B", out, *define], ["cmake", "--build", out]]
    if shutil.which("cmake") is None:
        out.mkdir()
        files = [SOURCE / "detect.cpp", soname, "-o", out / "detect"]
        commands = [[compiler, "-std=c++17", "-O2", f"-I{include}", *files, f"-Wl,-rpath,{build}"]]
    for command in commands:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return out / "detect"


def cloud(folder: Path, config: Config, seed: int) -> Path:
    path = folder / "cloud.bin"
    clusters(config, seed).points.astype("<f4").tofile(path)
    return path


@pytest.mark.parametrize(
    ("model", "settings"),
    [({}, {}), ({"bev": "dense"}, {"most": 400}), ({"max_points": 4, "empty_slots": True}, {}),
     ({"head": {"places": "ends", "headings": [0.0, 1.57], "direction_offset": 0.5}}, {"int8": True}),
     ({"head": {"scales": [1.5]}}, {})],
)  # fmt: skip
def test_it_prints_the_detectors_boxes(program: Path, model: dict, settings: dict, tmp_path: Path) -> None:
    detector, folder, _ = write(pointpillars(**model), tmp_path, **settings)
    path = cloud(tmp_path, detector.config, 5)
    result = subprocess.run([program, folder, path], check=True, capture_output=True, text=True)
    rows = [line.split() for line in result.stdout.splitlines()]
    exported = ExportedDetector(folder)
    with torch.inference_mode():
        wanted = exported.detect(exported(collate([Frame("cloud", read_points(path))], detector.classes)))[0]
    assert len(rows) == len(wanted.boxes) > 5
    assert [row[0] for row in rows] == [detector.classes[label] for label in wanted.labels]
    values = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(values[:, 0], wanted.scores, atol=1e-4)
    turns = (values[:, 7] - wanted.boxes[:, 6].numpy()) / (2 * np.pi)
    assert np.abs(turns - turns.round()).max() < 1e-3
    np.testing.assert_allclose(values[:, 1:7], wanted.boxes[:, :6], rtol=1e-4, atol=1e-3)


def test_what_it_cannot_run_is_one_line(program: Path, tmp_path: Path) -> None:
    detector, folder, _ = write(nuscenes(), tmp_path)
    path = cloud(tmp_path, detector.config, 5)
    (tmp_path / "plain").mkdir()
    _, plain, _ = write(pointpillars(), tmp_path / "plain")
    turned, driven = (tmp_path / name for name in ("turned", "driven"))
    card = (plain / "model.yaml").read_text()
    for other, key, value in (
        (turned, "axes: x_forward", "axes: y_forward"),
        (driven, "own_vehicle: null", "own_vehicle: [-1.0, -1.0, -2.0, 1.0, 1.0, 2.0]"),
    ):
        other.mkdir()
        assert key in card.split("config:")[0]
        (other / "model.yaml").write_text(card.replace(key, value))
    bright = tmp_path / "bright.bin"
    np.array([[1, 0, -1, 37]], "<f4").tofile(bright)
    for arguments, text in (
        ((folder, path), "this example runs PointPillars"),
        ((tmp_path / "none", path), "model.yaml: cannot be read"),
        ((turned, path), "this example neither turns clouds (cloud.axes)"),
        ((driven, path), "nor leaves points out (cloud.own_vehicle)"),
        ((plain, bright), "has intensities above their full scale, by_type"),
    ):
        result = subprocess.run([program, *arguments], capture_output=True, text=True)
        assert result.returncode == 2
        assert text in result.stderr
        assert result.stderr.count("\n") == 1
