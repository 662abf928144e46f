"""Similarity-preserving distillation against loops over pairs of rows."""

import pytest
import torch
from random_taps import RandomTaps, best_rows

from mink_pd.distill.methods.similarity import Similarity, SimilarityConfig


def test_loss_is_the_papers() -> None:
    pair = RandomTaps(30, 0, 20).features(5, 3)
    settings = SimilarityConfig(rows=7, importance="channel_max")
    loss, logs = Similarity("similarity", settings, {}).compare(pair)
    frames = []
    for frame in (0, 2):
        rows = best_rows(pair.teacher.features.amax(dim=1), pair.teacher.frame, frame, 7)
        assert len(rows) == 7
        matrices = []
        for features in (pair.teacher.features, pair.student.features):
            g = [[float(features[i] @ features[j]) for j in rows] for i in rows]
            matrices.append([[x / (sum(y * y for y in row) ** 0.5 or 1.0) for x in row] for row in g])
        apart = sum((matrices[0][i][j] - matrices[1][i][j]) ** 2 for i in range(7) for j in range(7))
        frames.append(apart / 7**2)
    assert loss.item() == pytest.approx(sum(frames) / 2, rel=1e-4)
    assert 0 <= float(logs["inside"]) <= 1


def test_a_rotation_of_the_features_has_no_loss() -> None:
    pair = RandomTaps(30).features(4, 4)
    turn = torch.linalg.qr(torch.randn(4, 4)).Q
    pair.student = type(pair.teacher)(pair.teacher.voxels.tensor(pair.teacher.features @ turn), pair.teacher.voxels)
    loss, _ = Similarity("similarity", SimilarityConfig(), {}).compare(pair)
    assert loss.item() < 1e-12
