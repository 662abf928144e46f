"""libminkpd and minkpd-detect, compiled once a session, and a checkpoint to export."""

import argparse
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from engine_cases import EXPORTED, FLAGS, Built, cloud, compiled, linked, tuned

from mink_pd.models.checkpoint import save_weights
from mink_pd.native import build
from mink_pd.threads import cores


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The library and the command, optimised no more than compiles fast: "make engine" makes what users have."""
    compiler = build.compiler()
    if compiler is None:
        pytest.skip("no C++ compiler here")
    folder = tmp_path_factory.mktemp("engine")
    sources = [
        *build.SOURCES.glob("engine/*.cpp"),
        *(build.SOURCES / f"core/{name}.cpp" for name in ("int8", "panels", "pool")),
    ]
    with ThreadPoolExecutor(cores()) as pool:
        objects = list(pool.map(lambda one: compiled(one, folder / f"{one.stem}.o", *FLAGS, "-c"), sources))
    library = folder / "libminkpd.so"
    link = [compiler, "-shared", "-pthread", "-Wl,--no-undefined", *map(str, objects), "-o", str(library)]
    subprocess.run(link, check=True)
    built = Built(folder, folder / "minkpd-detect")
    linked(build.SOURCES / "engine/command/minkpd_detect.cpp", built, built.command)
    return built


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    """Those of the command, for a checkpoint that is there."""
    checkpoint, points = tmp_path / "student.safetensors", tmp_path / "000001.bin"
    save_weights(checkpoint, dict(tuned(EXPORTED).state_dict()), EXPORTED, epoch=1)
    cloud(EXPORTED).points.tofile(points)
    return argparse.Namespace(
        checkpoint=checkpoint, to="engine", out=tmp_path / "student.mpd", frames=[points], which="last", force=False,
        opset=None, pillars=None, slots=None, int8=False, split=None, data=None, split_frames=None,
    )  # fmt: skip
