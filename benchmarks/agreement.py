"""Checks that two sides did the same work, because a benchmark of different work is worthless."""

import torch
from torch import Tensor

TOLERANCE = 1e-4  # of the largest value
GRADIENT_TOLERANCE = 1e-3  # a dozen batch norms deep; float32 sums in another order, and ReLUs that flip


def same(ours: Tensor, theirs: Tensor, what: str, tolerance: float = TOLERANCE) -> None:
    """Raise AssertionError unless the values are equal to within ``tolerance`` of the largest one."""
    assert ours.shape == theirs.shape, f"{what} have shapes {tuple(ours.shape)} and {tuple(theirs.shape)}"
    difference = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12))
    assert difference < tolerance, f"{what} differ by {difference:.1e} of the largest"


def same_rows(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> None:
    """Raise AssertionError unless coordinates (M, 4) and features (M, C) are the same, in any order of rows."""
    (c0, f0), (c1, f1) = (_sorted(*pair) for pair in (ours, theirs))
    assert torch.equal(c0, c1), f"other sites: {len(c0)} and {len(c1)}"
    same(f0, f1, "outputs")


def _sorted(coordinates: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    code = torch.zeros(len(coordinates), dtype=torch.int64)
    for axis in range(coordinates.shape[1]):
        code = code * 4096 + coordinates[:, axis] + 1024
    order = code.argsort()
    return coordinates[order], features[order]
