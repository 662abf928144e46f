"""Detectors with weights that make every layer matter, and clouds that leave most of the grid empty."""

import numpy as np
import pytest
import torch
from random_norms import randomise_norm
from torch import nn

from mink_pd.config import Config
from mink_pd.data.frame import Frame
from mink_pd.models import Detector, build_detector
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.heads.center_head import DenseOutput, SparseOutput

for package in ("onnx", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason="optional dependency: pip install 'mink_pd[export]'")


def shaken(config: Config, seed: int = 0) -> Detector:
    """A detector in evaluation mode with random statistics, as after some training."""
    torch.manual_seed(seed)
    detector = build_detector(config).eval()
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm1d):
            randomise_norm(module)
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.3)
        if isinstance(module, SparseOutput | DenseOutput):
            for values in module.parameters():
                nn.init.normal_(values, std=0.3)
    if isinstance(detector, AnchorDetector):
        nn.init.constant_(detector.head.score.bias, -1)  # some scores are above the threshold
    return detector


def clusters(config: Config, seed: int = 0, count: int = 4) -> Frame:
    """A cloud of a few heaps of points, one of them in a corner of the range, and a pillar with many points."""
    random = np.random.default_rng(seed)
    low, high = np.array(config.data.range[:3]), np.array(config.data.range[3:])
    centres = random.uniform(low, high, (count, 3))
    centres[0] = low + 0.1
    heaps = [random.normal(centre, (0.4, 0.4, 0.3), (30, 3)) for centre in centres]
    heaps.append(centres[-1] + random.uniform(0, 0.05, (40, 3)))
    places = np.concatenate(heaps)
    rest = random.uniform(0, 1, (len(places), config.data.point_features - 3))
    return Frame(f"cloud{seed}", np.concatenate([places, rest], axis=1).astype(np.float32))
