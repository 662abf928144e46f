"""Attention-guided and non-local distillation against loops."""

import math

import pytest
from random_taps import RandomTaps, best_rows

from mink_pd.distill.methods.attention_guided import AttentionGuided, AttentionGuidedConfig

Rows = list[list[float]]


def softmax(values: list[float], temperature: float) -> list[float]:
    powers = [math.exp(value / temperature) for value in values]
    return [power / sum(powers) for power in powers]


def norm(values: list[float]) -> float:
    return sum(value**2 for value in values) ** 0.5


def guided(s: Rows, t: Rows, temperature: float) -> tuple[float, float]:
    """The attention term and the term of the features under the masks."""
    sites, channels = len(s), len(s[0])
    of_site = [[sum(map(abs, row)) / channels for row in x] for x in (s, t)]
    of_channel = [[sum(abs(row[c]) for row in x) / sites for c in range(channels)] for x in (s, t)]
    attention = norm([a - b for a, b in zip(*of_site, strict=True)])
    attention += norm([a - b for a, b in zip(*of_channel, strict=True)])
    ms = softmax([a + b for a, b in zip(*of_site, strict=True)], temperature)
    mc = softmax([a + b for a, b in zip(*of_channel, strict=True)], temperature)
    total = sum(
        (t[i][c] - s[i][c]) ** 2 * sites * ms[i] * channels * mc[c] for i in range(sites) for c in range(channels)
    )
    return attention, total**0.5


def related(x: Rows) -> Rows:
    channels = len(x[0])
    result = []
    for a in x:
        likeness = softmax([sum(p * q for p, q in zip(a, b, strict=True)) for b in x], math.sqrt(channels))
        result.append([sum(w * b[c] for w, b in zip(likeness, x, strict=True)) for c in range(channels)])
    return result


def test_loss_is_the_papers() -> None:
    pair = RandomTaps(30, 0, 20).features(5, 3)
    settings = AttentionGuidedConfig(
        rows=6, importance="channel_max", attention=0.3, features=0.5, non_local=0.7, temperature=0.4
    )
    method = AttentionGuided("attention_guided", settings, {"bev": (5, 3)})
    loss, logs = method.compare(pair)
    ours, theirs = method.adapters["bev"](pair.student.features).tolist(), pair.teacher.features.tolist()
    wanted = []
    for frame in (0, 2):
        here = (pair.teacher.frame == frame).nonzero()[:, 0].tolist()
        attention, features = guided([ours[i] for i in here], [theirs[i] for i in here], 0.4)
        rows = best_rows(pair.teacher.features.amax(dim=1), pair.teacher.frame, frame, 6)
        s, t = related([ours[i] for i in rows]), related([theirs[i] for i in rows])
        relation = norm([a - b for x, y in zip(s, t, strict=True) for a, b in zip(x, y, strict=True)])
        wanted.append(0.3 * attention + 0.5 * features + 0.7 * relation)
    assert loss.item() == pytest.approx(sum(wanted) / 2, rel=1e-4)
    assert float(logs["largest_phi"]) > 1
