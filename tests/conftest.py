"""Fixtures for all tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import mink_pd  # noqa: F401  # before any test imports torch, which reads thread settings as it loads

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def shared() -> Callable[[str], Path]:
    """``shared("kitti_real")``: a folder of real data beside the checkout, or a skip that says what is missing."""

    def find(name: str) -> Path:
        folder = Path(os.environ.get("MINK_PD_SHARED", ROOT.parent / "shared")) / name
        if not folder.exists():
            pytest.skip(f"{name} is not here; set MINK_PD_SHARED to the folder that holds it")
        return folder

    return find


@pytest.fixture(scope="session")
def nuscenes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated nuScenes, not to be written to: a scene in train, two in val, two keyframes each, all ten classes in
    val. Skips without the devkit."""
    pytest.importorskip("nuscenes")
    from mink_pd.simulator.nuscenes import Settings, simulate  # Open3D takes seconds to import

    root = tmp_path_factory.mktemp("simulated") / "nuscenes"
    simulate(root, Settings(train=1, val=2, keyframes=2, seed=6))
    return root


@pytest.fixture(scope="session")
def compiled() -> None:
    """Skip where nothing was compiled."""
    from mink_pd.native import build

    if build.library() is None:
        pytest.skip("the compiled operators are not available here")
