"""Nearest neighbours against brute force."""

import pytest
import torch
from torch import Tensor

from mink_pd.native import build as native
from mink_pd.sparse import knn


def normal(count: int, dimension: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))


def cells(count: int, dimension: int) -> Tensor:
    """Unique cells of an anisotropic grid of sizes that are powers of two: distances are exact and often equal."""
    places = (30 * normal(3 * count, dimension)).round().unique(dim=0)
    places = places[torch.randperm(len(places), generator=torch.Generator().manual_seed(1))[:count]]
    return places * torch.tensor([0.25, 0.25, 0.5])[:dimension]


CLOUDS = {
    "cells": lambda d: cells(700, d),
    "even": lambda d: normal(600, d).erf(),
    "clustered": lambda d: normal(600, d) ** 7,
    "two clusters far apart": lambda d: normal(500, d) + 1e5 * (torch.arange(500) % 2)[:, None],
    "one far away": lambda d: torch.cat([normal(400, d), torch.full((1, d), 3e6)]),
    "on a line": lambda d: normal(500, 1).expand(-1, d).contiguous(),
    "along an axis": lambda d: torch.cat([normal(500, 1), torch.zeros(500, d - 1)], dim=1),
    "flat": lambda d: normal(500, d) * torch.tensor([50.0, 50.0, 0.01])[:d],
    "duplicates": lambda d: normal(40, d).repeat(12, 1),
    "all the same": lambda d: torch.ones(300, d),
    "one": lambda d: torch.ones(1, d),
    "tiny": lambda d: 1e-18 * normal(300, d),  # squares are subnormal
    "huge": lambda d: 1e25 * normal(300, d),  # squares are infinite
}


def squared(queries: Tensor, references: Tensor) -> Tensor:
    """(Q, R) float64"""
    return (queries.double()[:, None] - references.double()[None]).square().sum(dim=-1)


@pytest.mark.parametrize("path", ["compiled", "tree"])
@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("dimension", [2, 3])
def test_distances_are_the_smallest(cloud: str, dimension: int, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if path == "tree":
        monkeypatch.setattr(native, "library", lambda: None)
    references = CLOUDS[cloud](dimension)
    scale = references.abs().max()
    others = references[::3] + 0.3 * scale * normal(len(references[::3]), dimension, seed=2)  # outside as well
    for queries in (references, others):
        all_distances = squared(queries, references)
        for k in (1, 7, 64, 1000):
            rows = knn(queries, references, k)
            some = min(k, len(references))
            assert rows.dtype == torch.int64
            assert rows.shape == (len(queries), some)
            assert all(len(set(row)) == some for row in rows.tolist())
            ours, wanted = all_distances.gather(1, rows), all_distances.sort(dim=1).values[:, :some]
            if cloud not in ("tiny", "huge"):  # beyond float32, any will do
                torch.testing.assert_close(ours, wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("k", [1, 9, 100])
def test_equally_near_ones_come_by_row(dimension: int, k: int) -> None:
    if native.library() is None:
        pytest.skip("no compiled library here")
    for references in (cells(900, dimension), cells(60, dimension).repeat(10, 1), torch.zeros(300, dimension)):
        queries = references[::5]
        wanted = squared(queries, references).sort(dim=1, stable=True).indices[:, :k]
        assert torch.equal(knn(queries, references, k), wanted)


def test_a_reference_finds_itself_first() -> None:
    references = normal(500, 2).unique(dim=0)
    assert torch.equal(knn(references, references, 9)[:, 0], torch.arange(len(references)))


def test_threads_change_nothing() -> None:
    references, threads = normal(3000, 3), torch.get_num_threads()
    results = []
    for count in (1, 2, 1):
        torch.set_num_threads(count)
        results.append(knn(references, references, 32))
    torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_features_of_many_dimensions() -> None:
    references = torch.rand(50, 16)
    assert torch.equal(knn(references, references, 3)[:, 0], torch.arange(50))


def test_no_queries_or_no_references() -> None:
    assert knn(torch.rand(0, 3), torch.rand(5, 3), 8).shape == (0, 5)
    assert knn(torch.rand(4, 2), torch.rand(0, 2), 8).shape == (4, 0)


def test_places_that_are_no_numbers_are_refused() -> None:
    with pytest.raises((RuntimeError, ValueError), match="finite"):
        knn(torch.rand(4, 2), torch.tensor([[0.0, torch.nan]] * 3), 2)
