"""libminkpd and minkpd-detect, compiled once a session."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from engine_cases import FLAGS, Built, compiled, linked

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
