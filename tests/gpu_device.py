"""The GPU that tests of ``tests/gpu`` run on: a real one with MINK_PD_TEST_GPU=1, else a pretended one.

On the pretended one a tensor that was left on the CPU is an error and the arithmetic is the CPU's. On a real one sums
run in another order, so that the bounds are wider.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from pretend_cuda import pretended_cuda
from torch import Tensor

from mink_pd.models.taps import LevelsTap, SiteTap, Tap
from mink_pd.native import build as native
from mink_pd.sparse import ME

REAL = os.environ.get("MINK_PD_TEST_GPU", "0") == "1"
TOLERANCE = 2e-3 if REAL else 1e-4  # relative, of values that a whole network computes


@contextmanager
def gpu() -> Iterator[None]:
    """Tensors may be moved to "cuda" inside."""
    if not REAL:
        with pretended_cuda():
            yield
        return
    if not (torch.cuda.is_available() and ME.is_cuda_available()):
        pytest.fail("MINK_PD_TEST_GPU=1, but torch finds no GPU or MinkowskiEngine is built for the CPU")
    matrices, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matrices, convolutions


@contextmanager
def plain_layers() -> Iterator[None]:
    """MinkowskiEngine's layers on the CPU as well, so that a pretended GPU sums in the same order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINK_PD_NATIVE", "0")
        native.library.cache_clear()
        yield
    native.library.cache_clear()


def on_both(work: Callable[[str], Any]) -> tuple[Any, Any]:
    """``work("cpu")``, and ``work("cuda")`` on the GPU; both make their own tensors there."""
    with plain_layers():
        torch.manual_seed(0)
        wanted = work("cpu")
        torch.manual_seed(0)
        with gpu():
            return wanted, work("cuda")


def to_numpy(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def sorted_rows(coordinates: Tensor, features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (M, 1 + D) and features (M, C) in the order of the coordinates: a GPU's maps have another."""
    places, values = to_numpy(coordinates), to_numpy(features)
    order = np.lexsort(places.T[::-1])
    return places[order], values[order]


def tap_rows(tap: Tap) -> list[tuple[np.ndarray, np.ndarray]]:
    """Coordinates and features of each level of a tap of sites."""
    levels = tap.levels if isinstance(tap, LevelsTap) else [tap]
    return [sorted_rows(level.coordinates, level.features) for level in levels if isinstance(level, SiteTap)]


def assert_close(found: np.ndarray, wanted: np.ndarray, tolerance: float = TOLERANCE) -> None:
    """Equal to ``tolerance`` of the largest value."""
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * max(1.0, np.abs(wanted).max(initial=0)))
