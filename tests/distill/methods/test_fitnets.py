"""FitNets against its equation 3, number by number."""

import pytest
from random_taps import RandomTaps

from mink_pd.distill.methods.fitnets import FitNets, FitNetsConfig


def test_loss_is_the_papers() -> None:
    pair = RandomTaps(30, 20).features(5, 3)
    method = FitNets("fitnets", FitNetsConfig(), {"bev": (5, 3)})
    weight, bias = (x.detach() for x in method.adapters["bev"].parameters())
    total, count = 0.0, 0
    for hint, ours in zip(pair.teacher.features, pair.student.features, strict=True):
        for c in range(5):
            guess = sum(float(weight[c, k] * ours[k]) for k in range(3)) + float(bias[c])
            total += 0.5 * (float(hint[c]) - guess) ** 2
            count += 1
    loss, logs = method.compare(pair)
    assert loss.item() == pytest.approx(total / count, rel=1e-5)
    assert float(logs["teacher_rms"]) == pytest.approx(float(pair.teacher.features.square().mean()) ** 0.5)
