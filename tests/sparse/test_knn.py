"""Nearest neighbours against brute force."""

import torch

from mink_pd.sparse import knn


def test_distances_agree_with_brute_force() -> None:
    references = torch.rand(200, 2)
    queries = references[::7]
    rows = knn(queries, references, 9)
    ours = (queries[:, None] - references[rows]).norm(dim=-1)
    wanted = (queries[:, None] - references[None]).norm(dim=-1).sort(dim=1).values[:, :9]
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)
    assert torch.equal(rows[:, 0], torch.arange(0, 200, 7))


def test_features_of_many_dimensions() -> None:
    references = torch.rand(50, 16)
    assert torch.equal(knn(references, references, 3)[:, 0], torch.arange(50))


def test_fewer_references_than_k() -> None:
    assert knn(torch.rand(3, 3), torch.rand(5, 3), 8).shape == (3, 5)
