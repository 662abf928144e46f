"""Searching for labelled objects one by one."""

import numpy as np
import pytest
import torch
from stand_in import MeanDetector, Memory

from mink_pd.config import Config
from mink_pd.detect.find import search
from mink_pd.errors import ConfigError

CAR = [15.0, 0, -1, 4, 1.6, 1.5, 0]


class Frames:
    """Two cars of which the detector finds the first, a car out of range, and a van in the same place."""

    def __init__(self, names: list[str]) -> None:
        self.frames = Memory(2, 1).frames
        for frame in self.frames:
            frame.boxes = np.array([CAR, [30.0, 5, *CAR[2:]], [200.0, *CAR[1:]], CAR], np.float32)
            frame.names = np.array(names)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
        return self.frames[index]


def detector() -> MeanDetector:
    """Always answers with a car that is moved by a metre along its length."""
    result = MeanDetector(Config())
    for parameter in result.parameters():
        parameter.data.zero_()
    result.layers[-1].bias.data[:] = torch.tensor([16.0, *CAR[1:]])
    return result


@pytest.mark.parametrize(("names", "asked"), [("Car Car Car Van", "Car"), ("car CAR Car van", "cAR")])
def test_each_object_within_range_with_its_overlap(names: str, asked: str) -> None:
    found = search(detector(), Config(), Frames(names.split()), asked)  # type: ignore[arg-type]
    assert [one.frame for one in found] == ["000000"] * 2 + ["000001"] * 2
    assert [one.bev for one in found] == pytest.approx([3 / 5, 0] * 2)
    assert [one.iou for one in found] == pytest.approx([3 / 5, 0] * 2)
    assert found[0].score == 1


def test_a_class_without_detections_and_one_that_the_detector_lacks() -> None:
    frames = Frames(["Car", "Car", "Car", "Cyclist"])
    assert [one.iou for one in search(detector(), Config(), frames, "Cyclist")] == [0, 0]  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'Van': the detector finds Car, Pedestrian, Cyclist"):
        search(detector(), Config(), frames, "Van")  # type: ignore[arg-type]
