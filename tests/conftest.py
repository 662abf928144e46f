"""Fixtures for all tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

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
