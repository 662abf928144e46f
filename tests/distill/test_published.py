"""configs/published/pointdistiller_*: the numbers of the authors' release, read from its files."""

import pytest

from mink_pd.config import load_config
from mink_pd.distill import Distiller
from mink_pd.models import build_detector

# RunpeiDong/PointDistiller: kd_cfg of configs/, else the calls in voxelnet.py, point_rcnn.py and mvx_two_stage.py.
# Rows, neighbours and temperature; channels of the taps in teacher and student.
RELEASED = {
    "pointpillars": (4, [], (6000, 128, 1e-2), {"pillars": (64, 32)}),
    "pointpillars-16x": (16, [], (6000, 128, 1e-2), {"pillars": (64, 16)}),
    "second": (4, [], (256, 256, 1e-2), {"bev1": (128, 64), "bev2": (256, 128)}),
    "second-16x": (16, [128, 1e-4], (256, 128, 1e-4), {"bev1": (128, 32), "bev2": (256, 64)}),
    "pointrcnn": (7.84, [], (6000, 128, 1e-3), {"neck": (128, 45)}),
    "pointrcnn-16x": (16, [], (6000, 128, 1e-3), {"neck": (128, 32)}),
    "nuscenes": (2, [], (256, 128, 1e-4), {"neck": (256, 182)}),
}


@pytest.mark.parametrize("name", RELEASED)
def test_numbers_and_channels_are_the_released_ones(name: str) -> None:
    compression, other, numbers, channels = RELEASED[name]
    keys = ("neighbours", "temperature")
    overrides = [f"distill.pointdistiller.{key}={value}" for key, value in zip(keys, other, strict=False)]
    path = f"published/pointdistiller_{name.split('-')[0]}"
    if "-" in name:
        overrides.append(f"model.compression={compression}")
    config = load_config(path, overrides)
    assert config.model.compression == compression
    settings = config.distill.pointdistiller
    assert (settings.rows, settings.neighbours, settings.temperature) == numbers
    assert config.distill.methods == ["pointdistiller"]
    assert settings.taps == list(channels)
    teacher, student = build_detector(load_config(path, ["model.compression=1"])), build_detector(config)
    for tap, found in channels.items():
        assert (teacher.tap_channels()[tap], student.tap_channels()[tap]) == found
    Distiller(student, teacher, config)  # raises where they do not fit
