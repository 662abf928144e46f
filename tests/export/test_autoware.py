"""Autoware's pre- and post-processing, replayed in NumPy from its description, around the exported graphs."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from export.conftest import clusters, shaken
from export.test_write import Clouds, source
from rich.console import Console

from mink_pd.config import Config, load_config
from mink_pd.data.loading.batch import collate
from mink_pd.errors import ConfigError
from mink_pd.export.autoware import Autoware
from mink_pd.export.card import read_card
from mink_pd.export.graph import OnnxSession
from mink_pd.export.networks import Settings
from mink_pd.export.write import export
from mink_pd.models.bev_detector import BevDetector

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["CAR", "TRUCK", "BUS", "BICYCLE", "PEDESTRIAN"]


def settings(*overrides: str) -> Config:
    """Autoware's configuration with few channels: the graphs are made up to 32."""
    small = ["model.compression=4", "model.channels=[16, 16, 16]", "model.layers=[0, 0, 0]", "model.neck_channels=16"]
    return load_config(ROOT / "configs" / "centerpoint_autoware.yaml", [*small, *overrides])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[BevDetector, Path]:
    folder = tmp_path_factory.mktemp("autoware")
    detector = shaken(settings())
    assert isinstance(detector, BevDetector)
    # As trained ones: sizes of metres, scores that float32 tells apart, sines and cosines of some length.
    for name, spread in (("size", 0.02), ("heatmap", 0.05), ("yaw", 0.02)):
        for values in detector.head.branches[0][name][1].parameters():
            torch.nn.init.normal_(values, std=spread)
    detector.head.branches[0]["yaw"][1].convolution.bias.data.fill_(0.6)
    clouds = Clouds(clusters(detector.config))
    export(detector, source(detector, folder), Settings("autoware"), clouds, folder / "out", Console())
    return detector, folder / "out"


def features_of(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """input_features (40000, 32, 9) of points x, y, z, time lag; and the pillars' places y, x."""
    low, high = np.float32([-76.8, -76.8, -4.0]), np.float32([76.8, 76.8, 6.0])
    points = points[((points[:, :3] >= low) & (points[:, :3] < high)).all(axis=1)]
    cells = np.floor((points[:, :2] - low[:2]) / np.float32(0.32)).astype(int)
    seen: dict[tuple[int, int], list[np.ndarray]] = {}
    for point, (x, y) in zip(points, cells, strict=True):
        seen.setdefault((y, x), []).append(point)
    features = np.zeros((40000, 32, 9), np.float32)
    for row, ((y, x), found) in enumerate(seen.items()):
        own = np.array(found[:32])
        centre = [0.16 + x * 0.32 - 76.8, 0.16 + y * 0.32 - 76.8]
        features[row, : len(own)] = np.hstack([own, own[:, :3] - own[:, :3].mean(axis=0), own[:, :2] - centre])
    return features, np.array(list(seen))


def boxes_of(maps: list[np.ndarray]) -> np.ndarray:
    """x, y, z, length, width, height, yaw of the network, vx, vy, class, score after thresholds and circle NMS."""
    heatmap, reg, height, dim, rot, vel = (values[0] for values in maps)
    scores = 1 / (1 + np.exp(-heatmap.astype(float)))
    found = []
    for row, column in np.argwhere(scores.max(axis=0) >= 0.35):
        label = scores[:, row, column].argmax()
        x = 0.32 * 2 * (column + reg[0, row, column]) - 76.8
        y = 0.32 * 2 * (row + reg[1, row, column]) - 76.8
        width, length, tall = np.exp(dim[:, row, column])
        sine, cosine = rot[:, row, column]
        if math.hypot(x, y) < 200 and math.hypot(sine, cosine) >= (0 if NAMES[label] == "PEDESTRIAN" else 0.3):
            place = [x, y, height[0, row, column], length, width, tall, math.atan2(sine, cosine)]
            found.append([*place, *vel[:, row, column], label, scores[label, row, column]])
    boxes = np.array(found)
    boxes = boxes[np.argsort(-boxes[:, 10], kind="stable")]
    kept: list[int] = []
    for row, box in enumerate(boxes):
        if all(math.dist(box[:2], boxes[k, :2]) >= 0.5 for k in kept):
            kept.append(row)
    return boxes[kept]


def test_the_node_finds_our_boxes(exported: tuple[BevDetector, Path]) -> None:
    detector, folder = exported
    frame = clusters(detector.config, seed=3, count=8)
    features, places = features_of(frame.points[:, [0, 1, 2, 4]])
    encoder = OnnxSession(folder / "pts_voxel_encoder_centerpoint_tiny.onnx")
    pillars = encoder.run({"input_features": features})["pillar_features"]
    assert pillars.shape == (40000, 1, 32)
    canvas = np.zeros((1, 32, 480, 480), np.float32)
    for row, (y, x) in enumerate(places):
        canvas[0, :, y, x] = pillars[row, 0]
    head = OnnxSession(folder / "pts_backbone_neck_head_centerpoint_tiny.onnx")
    assert head.outputs == ["heatmap", "reg", "height", "dim", "rot", "vel"]
    maps = list(head.run({"spatial_features": canvas}).values())
    assert [values.shape for values in maps] == [(1, c, 240, 240) for c in (5, 2, 1, 3, 2, 2)]
    theirs = boxes_of(maps)
    detector.settings.nms.after = 10_000
    with torch.inference_mode():
        ours = detector.detect(detector(collate([frame], detector.classes)))[0]
    assert len(theirs) > 20
    assert ours.velocities is not None
    turned = ours.boxes.clone()
    turned[:, 6] = -ours.boxes[:, 6] - math.pi / 2  # -yaw - pi / 2 of the network's is what the node publishes
    assert len(ours.boxes) == len(theirs)
    np.testing.assert_allclose(theirs[:, 10], ours.scores, atol=1e-4)
    np.testing.assert_array_equal(theirs[:, 9], ours.labels)
    np.testing.assert_allclose(theirs[:, :6], ours.boxes[:, :6], atol=1e-3)
    np.testing.assert_allclose(theirs[:, 7:9], ours.velocities, atol=1e-3)
    assert (
        max(abs(math.remainder(a - b, 2 * math.pi)) for a, b in zip(theirs[:, 6], turned[:, 6].tolist(), strict=True))
        < 1e-3
    )
    assert (theirs[:, 3] - theirs[:, 4]).std() > 1e-3  # lengths are not widths


def test_the_parameter_file(exported: tuple[BevDetector, Path]) -> None:
    _, folder = exported
    text = (folder / "centerpoint_tiny_ml_package.param.yaml").read_text()
    assert "&" not in text  # the parser of ROS knows no anchors
    package = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert (folder / package["encoder_onnx_path"]).is_file()
    assert (folder / package["head_onnx_path"]).is_file()
    model = package["model_params"]
    assert model["class_names"] == NAMES
    assert (model["point_feature_size"], model["encoder_in_feature_size"], model["max_voxel_size"]) == (4, 9, 40000)
    assert (model["downsample_factor"], model["has_variance"], model["has_twist"]) == (2, False, True)
    assert model["point_cloud_range"] == [-76.8, -76.8, -4.0, 76.8, 76.8, 6.0]
    assert set(model["score_thresholds"]["thresholds"]) == set(NAMES)
    card = read_card(folder)
    assert card.graphs["pts_voxel_encoder_centerpoint_tiny"].inputs == {"input_features": [40000, 32, 9]}
    assert card.opset == 13
    assert card.pillars is not None
    assert card.pillars.features == [
        "x",
        "y",
        "z",
        "time lag",
        "x - mean",
        "y - mean",
        "z - mean",
        "x - centre",
        "y - centre",
    ]


def test_names_follow_the_heatmaps_channels() -> None:
    """``model.tasks`` may list the classes in another order than ``data.classes``."""
    detector = shaken(settings("model.tasks=[[pedestrian, bicycle, bus, truck, car]]"))
    assert isinstance(detector, BevDetector)
    model = Autoware(detector, Settings("autoware")).parameters()["/**"]["ros__parameters"]["model_params"]
    assert model["class_names"] == NAMES[::-1]
    assert [bool(threshold) for threshold in model["yaw_norm_thresholds"]] == [False, True, True, True, True]


def test_what_the_node_cannot_run() -> None:
    Autoware.check(settings())
    for override, text in (
        ("model.intensity=true", "model.intensity is True, the node needs False"),
        ("model.max_points=20", "model.max_points is 20"),
        ("model.tasks=[[car, truck], [bus, bicycle, pedestrian]]", "in one group is 2"),
        ("data.classes=[car, traffic_cone]", "no class traffic_cone"),
    ):
        with pytest.raises(ConfigError, match=text):
            Autoware.check(settings(override))
    anchors = load_config(ROOT / "configs" / "pointpillars_kitti.yaml", [])
    with pytest.raises(ConfigError, match=r"is for model\.name=centerpoint_pillars, not pointpillars"):
        Autoware.check(anchors)
