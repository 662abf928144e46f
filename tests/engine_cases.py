"""Compiling with libminkpd, and detectors and clouds for the engine."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from random_norms import randomise_norm
from torch import nn

from mink_pd.config import Config
from mink_pd.data.frame import Frame
from mink_pd.models import Detector, build_detector
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.heads.center_head import SparseOutput
from mink_pd.native import build

FLAGS = ["-std=c++20", "-O1", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror", f"-I{build.SOURCES}"]
HEADER = build.SOURCES / "engine/minkpd.h"
SMALL = {  # a pillar net, with channels that fill no vector
    "voxel_size": [0.2, 0.2, 4.0],
    "pillar_channels": 12,
    "channels": [8, 20, 33],
    "layers": [1, 1, 2],
    "neck_channels": 10,
}
RANGE = [0.0, -12.0, -3.0, 25.0, 12.0, 1.0]  # [m]; 125 x 120 cells of SMALL: no multiple of the strides along x
EXPORTED = Config.model_validate({
    "data": {"range": [0.0, -10.0, -3.0, 25.6, 10.0, 1.0]},
    "model": {"voxel_size": [0.4, 0.4, 4.0], "pillar_channels": 8, "channels": [8, 8, 8], "layers": [1, 1, 1],
              "neck_channels": 8},
})  # fmt: skip


@dataclass(frozen=True)
class Built:
    """folder of libminkpd.so; the command minkpd-detect."""

    folder: Path
    command: Path


def compiled(source: Path, to: Path, *options: str, libraries: Sequence[str] = ()) -> Path:
    """A program or an object from C++ source."""
    compiler = build.compiler()
    assert compiler is not None
    done = subprocess.run([compiler, *options, str(source), "-o", str(to), *libraries], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return to


def linked(source: Path, built: Built, to: Path) -> Path:
    """A program that uses libminkpd."""
    libraries = [f"-L{built.folder}", "-lminkpd", f"-Wl,-rpath,{built.folder}"]
    return compiled(source, to, *FLAGS, f"-I{HEADER.parent}", libraries=libraries)


def tuned(config: Config, seed: int = 0) -> Detector:
    """A detector in evaluation mode with random statistics, as after some training: its boxes are about as large as
    objects, and some scores of every class are above the threshold."""
    torch.manual_seed(seed)
    detector = build_detector(config).eval()
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm1d):
            randomise_norm(module)
    if isinstance(detector, AnchorDetector):
        for layer, scale in zip(detector.head.layers(), (0.3, 0.02, 0.1, 0.1), strict=False):
            nn.init.normal_(layer.weight, std=scale * (30 / layer.in_features) ** 0.5)
            nn.init.normal_(layer.bias, std=0.1)
        nn.init.constant_(detector.head.score.bias, -3)
    for name, module in detector.named_modules():
        if isinstance(module, SparseOutput):
            heatmap = "heatmap" in name
            nn.init.normal_(module.convolution.kernel, std=0.2 if heatmap else 0.03)
            nn.init.constant_(module.convolution.bias, -3 if heatmap else 0.3)
    return detector


def cloud(config: Config, seed: int = 0, points: int = 3000) -> Frame:
    """Heaps of points, one of them in a corner of the range, pillars with many points, points outside, and a plane."""
    random = np.random.default_rng(seed)
    low, high = np.array(config.data.range[:3]), np.array(config.data.range[3:])
    centres = random.uniform(low, high, (12, 3))
    centres[0], centres[1] = low + 0.1, high - 0.1
    heaps = [random.normal(centre, (0.5, 0.5, 0.4), (80, 3)) for centre in centres]
    heaps += [centre + random.uniform(0, 0.05, (40, 3)) for centre in centres[2:6]]
    plane = random.uniform(low - 2, high + 2, (points, 3)) * (1, 1, 0.1) + (0, 0, -1)
    places = np.concatenate([*heaps, plane])
    random.shuffle(places)
    rest = random.uniform(0, 1, (len(places), config.data.point_features - 3))
    return Frame(f"cloud{seed}", np.concatenate([places, rest], axis=1).astype(np.float32))
