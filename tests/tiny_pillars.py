"""A PointPillars of a few channels and its student, for the range of ``random_taps``."""

import torch
from random_taps import RANGE

from mink_pd.config import Config
from mink_pd.models import Detector, build_detector


def tiny_config(**distill: object) -> Config:
    """``distill``: keys of its section."""
    model = {"voxel_size": [0.2, 0.2, 4.0], "pillar_channels": 8, "channels": [8, 12, 16], "layers": [1, 1, 1],
             "neck_channels": 8}  # fmt: skip
    return Config.model_validate({"data": {"range": RANGE}, "model": model, "distill": distill})


def tiny_networks(config: Config) -> tuple[Detector, Detector]:
    """Teacher, and a student of a quarter of its size, with weights of their own."""
    torch.manual_seed(0)
    small = config.model_copy(deep=True)
    small.model.compression = 4
    return build_detector(config), build_detector(small)
