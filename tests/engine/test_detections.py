"""The engine against the torch path: the same clouds, the same detections."""

import threading

import numpy as np
import pytest
import torch
from engine_cases import RANGE, SMALL, cloud, tuned

from mink_pd.config import Config
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate
from mink_pd.detect.engine import Engine
from mink_pd.detect.engine_file import engine_file
from mink_pd.errors import MinkPDError
from mink_pd.export.compare import compare_detections
from mink_pd.models import Detections, Detector

TOLERANCE = 1e-4
SHAPES = {
    "short": {"size": [4.0, 1.7, 1.6], "z": -1.0, "matched": 0.6, "unmatched": 0.4},
    "long": {"size": [10.0, 2.5, 3.0], "z": -0.5, "matched": 0.6, "unmatched": 0.4},
}
VOXELS = {
    "name": "second",
    "voxel_size": [0.1, 0.1, 0.1],
    "encoder_channels": [4, 8, 20, 16, 12],
    "channels": [12, 24],
    "strides": [1, 2],
    "layers": [1, 2],
    "neck_channels": 12,
}
TALL = [0.0, -12.05, -3.0, 25.1, 12.0, 1.95]  # odd numbers of cells
CENTRES = {"model": {"name": "centerpoint_pillars", "head": {"channels": 16}}}
NUSCENES = {"kind": "nuscenes", "classes": ["Car", "Pedestrian"]}
CASES: dict[str, dict] = {
    "plain": {},
    "wide": {"model": {"pillar_channels": 64, "channels": [64, 128, 80], "neck_channels": 64, "layers": [0, 0, 0]}},
    "slots": {"model": {"max_points": 5}},
    "empty slots": {"model": {"max_points": 5, "empty_slots": True}},
    "no intensity": {"model": {"intensity": False, "centre_height": False}},
    "pillar layers": {"model": {"pillar_layers": [9, 16]}},
    "wide pillar layer": {"model": {"pillar_channels": 80, "pillar_layers": [64], "max_points": 7}},
    "pillar layers and empty slots": {"model": {"pillar_layers": [12], "max_points": 5, "empty_slots": True}},
    "neck at the second stage": {"model": {"neck_stage": 2}},
    "neck at the last stage": {"model": {"neck_stage": 3}},
    "stages of stride 1": {"model": {"strides": [1, 2, 1]}},
    "feature pyramid": {"model": {"neck": "fpn", "head": {"scales": [1.0, 1.5, 2.0]}}},
    "feature pyramid at the ends": {"model": {"neck": "fpn", "strides": [1, 2, 1], "head": {"places": "ends"}}},
    "feature pyramid on voxels": {"model": VOXELS | {"neck": "fpn"}},
    "one stage": {"model": {"channels": [16], "strides": [2], "layers": [2]}},
    "places at the ends": {"model": {"head": {"places": "ends", "headings": [0.3, 1.2], "direction_offset": 0.1}}},
    "any class": {"model": {"head": {"any_class": True, "scales": [1.3]}, "anchors": SHAPES}},
    "few boxes": {"model": {"nms": {"before": 20, "after": 7, "score": 0.02, "iou": 0.3}}},
    "all boxes": {"model": {"nms": {"score": 0.0, "iou": 0.01}}},
    "velocities": {
        "data": NUSCENES,
        "model": {"head": {"velocity": True}},
    },
    "centres": CENTRES,
    "centres of several tasks": {
        "data": NUSCENES,
        "model": {**CENTRES["model"], "tasks": [["Pedestrian"], ["Car"]], "head": {"channels": 12, "velocity": True}},
    },
    "centres by circles": {
        "model": {**CENTRES["model"], "nms": {"kind": "circle", "radius": [1.5], "before": 60, "after": 20}},
    },
    "rectified centres": {"model": {**CENTRES["model"], "head": {"channels": 20, "iou": True, "rectifier": 0.6}}},
    "centres at the second stage": {"model": {**CENTRES["model"], "neck_stage": 2}},
    "voxels": {"model": VOXELS},
    "wide voxels": {"model": VOXELS | {"encoder_channels": [16, 32, 48, 64, 80], "max_points": 3}},
    "voxels of an odd grid": {"data": {"range": TALL}, "model": VOXELS | {"strides": [2, 2], "neck_stage": 2}},
    "tall voxels": {"model": VOXELS | {"voxel_size": [0.2, 0.1, 0.05]}},
    "flat voxels": {"model": VOXELS | {"voxel_size": [0.1, 0.1, 2.0]}},
    "voxels in residual blocks": {"model": VOXELS | {"residual": True}},
    "centres on voxels": {"model": VOXELS | {"name": "centerpoint_voxels", "head": {"channels": 16}}},
    "own vehicle": {"data": {"own_vehicle": [0, -2, -3, 4, 2, 1]}},
}


def configured(case: dict) -> Config:
    model = case.get("model", {})
    on_pillars = "encoder_channels" not in model
    return Config.model_validate(
        {"data": {"range": RANGE} | case.get("data", {}), "model": SMALL | model if on_pillars else model}
    )


def by_torch(detector: Detector, frame: Frame) -> Detections:
    """What the torch path finds, with points on the own vehicle left out as its reader of clouds does."""
    box = detector.config.data.own_vehicle
    if box is not None:
        inside = ((frame.points[:, :3] >= box[:3]) & (frame.points[:, :3] <= box[3:])).all(axis=1)
        frame = Frame(frame.id, frame.points[~inside])
    with torch.inference_mode():
        return detector.detect(detector(collate([frame], detector.classes)))[0]


@pytest.mark.parametrize("name", CASES)
def test_every_setting_gives_the_same_detections(name: str) -> None:
    config = configured(CASES[name])
    detector = tuned(config)
    engine = Engine(engine_file(detector), threads=2)
    found = 0
    for seed in range(3):
        frame = cloud(config, seed)
        expected, ours = by_torch(detector, frame), engine.detect(frame.points)
        agreement = compare_detections(ours, expected, config.model.nms)
        assert agreement.missing == 0, agreement
        assert agreement.edge <= 2, agreement
        assert max(agreement.box, agreement.score) <= TOLERANCE, agreement
        assert (ours.velocities is None) == (expected.velocities is None)
        found += agreement.pairs
    assert found >= 15
    if expected.velocities is not None:
        assert ours.velocities is not None
        assert expected.velocities is not None
        assert torch.allclose(ours.velocities, expected.velocities, atol=TOLERANCE)


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "pillar layers and empty slots",
        "feature pyramid",
        "centres of several tasks",
        "voxels",
        "wide voxels",
        "voxels in residual blocks",
        "centres on voxels",
    ],
)
def test_results_depend_neither_on_threads_nor_on_what_was_detected_before(name: str) -> None:
    config = configured(CASES[name])
    content = engine_file(tuned(config))
    frames = [cloud(config, seed, points) for seed, points in ((0, 3000), (1, 200), (2, 9000))]
    alone = [Engine(content, threads=1).detect(frame.points) for frame in frames]
    assert all(len(expected.boxes) > 2 for expected in alone)
    for threads in (1, 2, 3, 4):
        engine = Engine(content, threads)
        for round_ in range(2):
            for frame, expected in zip(frames, alone, strict=True):
                assert same(engine.detect(frame.points), expected), (threads, round_)


def test_several_threads_may_use_one_engine() -> None:
    config = configured({})
    engine = Engine(engine_file(tuned(config)), threads=2)
    frames = [cloud(config, seed) for seed in range(4)]
    expected = [engine.detect(frame.points) for frame in frames]
    wrong: list[int] = []

    def work(first: int) -> None:
        for turn in range(12):
            number = (first + turn) % len(frames)
            if not same(engine.detect(frames[number].points), expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def same(a: Detections, b: Detections) -> bool:
    return all(torch.equal(getattr(a, part), getattr(b, part)) for part in ("boxes", "labels", "scores"))


def test_points_that_are_none_do_not_count() -> None:
    config = configured({})
    engine = Engine(engine_file(tuned(config)))
    points = cloud(config).points
    expected = engine.detect(points)
    assert len(expected.boxes)
    nothing = np.zeros((5, 4), np.float32)
    nothing[1:4, 0], nothing[4, 3] = (np.nan, np.inf, -np.inf), np.nan
    nothing[4, :3] = 5, 0, -1
    rows = np.insert(points, np.repeat([0, 70, len(points)], 5), np.tile(nothing, (3, 1)), axis=0)
    assert same(engine.detect(rows), expected)
    wide = np.concatenate([points, np.full((len(points), 3), np.nan, np.float32)], axis=1)
    assert same(engine.detect(wide), expected)  # of longer rows the first columns count
    for none in (np.zeros((0, 4)), np.full((9, 4), 900.0), np.full((9, 4), np.nan)):
        assert len(engine.detect(none).boxes) == 0
    with pytest.raises(ValueError, match="at least 4 columns"):
        engine.detect(points[:, :3])


def test_the_score_can_be_changed() -> None:
    config = configured({})
    engine, points = Engine(engine_file(tuned(config))), cloud(config).points
    all_boxes = engine.detect(points)
    middle = float(all_boxes.scores.median())
    engine.set_score(middle)
    assert torch.equal(engine.detect(points).scores, all_boxes.scores[all_boxes.scores >= middle])
    with pytest.raises(MinkPDError, match="score must be 0 to 1"):
        engine.set_score(1.5)


@pytest.mark.parametrize("where", ["bev.backbone.1.0.norm.bias", "encoder.linear.weight", "head.score.bias"])
def test_what_is_not_finite_is_an_error(where: str) -> None:
    config = configured({})
    detector = tuned(config)
    detector.get_parameter(where).data.fill_(float("nan"))
    with pytest.raises(MinkPDError, match="NaN or infinity"):
        Engine(engine_file(detector)).detect(cloud(config).points)
