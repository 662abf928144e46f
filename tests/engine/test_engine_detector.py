"""Users of detectors get the engine's speed, and never another answer."""

import pickle

import numpy as np
import pytest
import torch
from engine_cases import cloud, tuned

from mink_pd.api import PointDetector
from mink_pd.config import Config
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate
from mink_pd.detect.engine_detector import EngineDetector, with_engine
from mink_pd.detect.predict import FrameDetections, detect_batches, detect_frame
from mink_pd.errors import MinkPDError
from mink_pd.models import Detector, build_detector

CONFIG = Config.model_validate({
    "data": {"range": [0.0, -10.0, -3.0, 25.6, 10.0, 1.0], "own_vehicle": [0, -1, -3, 5, 1, 1]},
    "model": {"voxel_size": [0.4, 0.4, 4.0], "pillar_channels": 8, "channels": [8, 8, 8], "layers": [1, 1, 1],
              "neck_channels": 8},
})  # fmt: skip


def near(a: FrameDetections, b: FrameDetections) -> bool:
    """Whether two lists hold the same detections."""
    return (
        len(a) == len(b) > 0
        and bool((a.names == b.names).all())
        and np.allclose(a.boxes, b.boxes, atol=1e-4)
        and np.allclose(a.scores, b.scores, atol=1e-4)
    )


@pytest.fixture
def detectors() -> tuple[Detector, Detector]:
    """A detector, and the engine in front of it."""
    torch_path = tuned(CONFIG.model_copy(deep=True))
    engine = with_engine(torch_path)
    assert isinstance(engine, EngineDetector)
    return torch_path, engine


def test_batches_of_frames_with_and_without_points(detectors: tuple[Detector, Detector]) -> None:
    """Points at the origin and on the own vehicle count as in the torch path: leaving them out is the reader's work."""
    torch_path, engine = detectors
    frames = [cloud(CONFIG, 0), Frame("nothing", np.zeros((0, 4), np.float32)), cloud(CONFIG, 1)]
    frames[0].points[:40, :3] = 0
    batch = [collate(frames, torch_path.classes)]
    pairs = list(zip(detect_batches(engine, batch), detect_batches(torch_path, batch), strict=True))
    assert [frame.id for (frame, _), _ in pairs] == ["cloud0", "nothing", "cloud1"]
    assert [len(found) == 0 for (_, found), _ in pairs] == [False, True, False]
    assert all(near(ours, theirs) for (_, ours), (_, theirs) in (pairs[0], pairs[2]))


def test_changed_weights_and_settings_count_at_once(detectors: tuple[Detector, Detector]) -> None:
    torch_path, engine = detectors
    frame = cloud(CONFIG)

    def both() -> tuple[FrameDetections, FrameDetections]:
        return detect_frame(engine, frame, CONFIG), detect_frame(torch_path, frame, CONFIG)

    first, _ = both()
    with torch.no_grad():
        torch_path.get_parameter("head.box.bias").add_(0.05)
    changed, expected = both()
    assert near(changed, expected)
    assert not np.allclose(changed.boxes, first.boxes, atol=1e-3)

    torch_path.train()
    torch_path(collate([frame], torch_path.classes))  # moves the running statistics
    torch_path.eval()
    trained, expected = both()
    assert near(trained, expected)
    assert not np.allclose(trained.scores[:5], changed.scores[:5], atol=1e-4)

    torch_path.config.model.nms.score = float(np.median(trained.scores))
    fewer, expected = both()
    assert near(fewer, expected)
    assert len(fewer) < len(trained)
    assert not torch_path.training


def test_it_can_be_sent_to_another_process(detectors: tuple[Detector, Detector]) -> None:
    frame = cloud(CONFIG)
    expected = detect_frame(detectors[1], frame, CONFIG)
    copy = pickle.loads(pickle.dumps(detectors[1]))
    assert near(detect_frame(copy, frame, CONFIG), expected)


def test_what_is_not_finite_names_the_frame(detectors: tuple[Detector, Detector]) -> None:
    torch_path, engine = detectors
    torch_path.get_parameter("head.score.bias").data.fill_(torch.nan)
    with pytest.raises(MinkPDError, match="frame cloud0: engine: the network computes NaN"):
        detect_frame(engine, cloud(CONFIG), CONFIG)


def test_others_stay_as_they_are() -> None:
    dense = build_detector(Config.model_validate({"model": CONFIG.model.model_dump() | {"bev": "dense"}}))
    assert with_engine(dense) is dense


def test_the_python_interface_can_do_without(detectors: tuple[Detector, Detector]) -> None:
    network, points = detectors[0], cloud(CONFIG).points
    config = network.config
    with_it, without = (PointDetector(network, config, engine=one).detect_points(points) for one in (True, False))
    assert near(with_it, without)
