"""Detection with a network that computes nonsense."""

import numpy as np
import pytest
import torch
from stand_in import MeanDetector, Memory
from tiny_pillars import tiny_config, tiny_networks

from mink_pd.config import Config
from mink_pd.data.frame import Frame
from mink_pd.detect.predict import detect_batches, detect_frame
from mink_pd.errors import MinkPDError


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_an_error_and_not_an_empty_frame(value: float) -> None:
    config = tiny_config()
    detector, _ = tiny_networks(config)
    points = np.random.default_rng(0).uniform([1, -3, -2, 0], [6, 3, 0, 1], (100, 4)).astype(np.float32)
    with torch.no_grad():
        detector.head.score.weight.fill_(value)
    with pytest.raises(MinkPDError, match="frame 000007: the detector's scores are not finite"):
        detect_frame(detector, Frame("000007", points), config)


def test_any_output_is_looked_at() -> None:
    detector = MeanDetector(Config())
    with torch.no_grad():
        detector.layers[-1].bias.fill_(float("nan"))
    with pytest.raises(MinkPDError, match="frame 000000, 000001: the detector's output"):
        list(detect_batches(detector, Memory(2, 2, shuffle=False).epoch(0)))
