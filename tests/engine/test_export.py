"""``mink-pd export --to engine``."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from engine_cases import cloud, tuned

from mink_pd.commands import export
from mink_pd.config import Config
from mink_pd.detect.engine import Engine
from mink_pd.errors import ConfigError, DataError, ExportError
from mink_pd.export import engine as engine_export
from mink_pd.models import Detector
from mink_pd.models.checkpoint import save_weights

CONFIG = Config.model_validate({
    "data": {"range": [0.0, -10.0, -3.0, 25.6, 10.0, 1.0]},
    "model": {"voxel_size": [0.4, 0.4, 4.0], "pillar_channels": 8, "channels": [8, 8, 8], "layers": [1, 1, 1],
              "neck_channels": 8},
})  # fmt: skip


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    """Those of the command, for a checkpoint that is there."""
    checkpoint, points = tmp_path / "student.safetensors", tmp_path / "000001.bin"
    save_weights(checkpoint, dict(tuned(CONFIG).state_dict()), CONFIG, epoch=1)
    cloud(CONFIG).points.tofile(points)
    return argparse.Namespace(
        checkpoint=checkpoint, to="engine", out=tmp_path / "student.mpd", frames=[points], which="last", force=False,
        opset=None, pillars=None, slots=None, int8=False, split=None, data=None, split_frames=None,
    )  # fmt: skip


def test_the_file_is_written_once_it_is_compared(
    options: argparse.Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    export.main(options)
    assert "boxes equal to the detector's on 1 clouds" in capsys.readouterr().out
    content = options.out.read_bytes()
    assert len(Engine(content).detect(cloud(CONFIG).points).boxes) > 5
    with pytest.raises(ConfigError, match="--force replaces it"):
        export.main(options)
    options.force = True
    export.main(options)
    assert options.out.read_bytes() == content


def test_an_engine_that_finds_other_boxes_writes_nothing(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = engine_export.engine_file

    def wrong(detector: Detector) -> bytes:
        detector.get_parameter("head.box.bias").data[0] += 0.01
        content = right(detector)
        detector.get_parameter("head.box.bias").data[0] -= 0.01
        return content

    monkeypatch.setattr(engine_export, "engine_file", wrong)
    with pytest.raises(ExportError, match="finds other objects than the detector"):
        export.main(options)
    assert not options.out.exists()


def test_wrong_options_are_refused_before_anything_is_computed(options: argparse.Namespace) -> None:
    options.slots = 16
    with pytest.raises(ConfigError, match="--slots"):
        export.main(options)
    options.slots, options.out = None, options.out.with_suffix(".onnx")
    with pytest.raises(ConfigError, match=r"ends in \.mpd"):
        export.main(options)
    options.out = options.out.with_suffix(".mpd")
    np.array([[500, 0, 0, 0.5]] * 9, np.float32).tofile(options.frames[0])
    with pytest.raises(DataError, match="no cloud has a point in the detector's range"):
        export.main(options)
    assert not options.out.exists()
