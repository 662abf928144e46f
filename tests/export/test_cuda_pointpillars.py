"""CUDA-PointPillars' pre- and post-processing, replayed in NumPy from its description, around the exported graph."""

from pathlib import Path

import numpy as np
import pytest
import torch
from export.conftest import clusters, shaken
from export.test_write import Clouds, source
from rich.console import Console
from shapely.affinity import rotate, translate
from shapely.geometry import Polygon, box

from mink_pd.config import Config, load_config
from mink_pd.data.loading.batch import collate
from mink_pd.errors import ConfigError, DataError
from mink_pd.export.card import read_card
from mink_pd.export.cuda_pointpillars import CudaPointPillars, halves
from mink_pd.export.detector import ExportedDetector
from mink_pd.export.networks import Settings
from mink_pd.export.write import export
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.heads.anchor_decode import decoded_boxes

ROOT = Path(__file__).resolve().parents[2]
RANGE, SIZE, GRID = (0.0, -39.68, -3.0, 69.12, 39.68, 1.0), (0.16, 0.16, 4.0), (432, 496)
ANCHORS = [(3.9, 1.6, 1.56, -1.78), (0.8, 0.6, 1.73, -0.6), (1.76, 0.6, 1.73, -0.6)]  # l, w, h, bottom


def published(*overrides: str) -> Config:
    path = ROOT / "configs" / "published" / "openpcdet_pointpillars.yaml"
    return load_config(path, ["model.compression=64", "model.bev=sparse", *overrides])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[AnchorDetector, Path]:
    folder = tmp_path_factory.mktemp("cuda")
    detector = shaken(published())
    assert isinstance(detector, AnchorDetector)
    torch.nn.init.constant_(detector.head.score.bias, -2.5)
    torch.nn.init.normal_(detector.head.box.weight, std=0.02)  # boxes near their anchors, as trained ones are
    clouds, settings = Clouds(clusters(detector.config)), Settings("cuda-pointpillars")
    export(detector, source(detector, folder), settings, clouds, folder / "out", Console())
    return detector, folder / "out"


def pillars(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """voxels (10000, 32, 10) and voxel_idxs (10000, 4); a pillar's first 32 points count."""
    inside = [
        (low <= column) & (column < high) for column, low, high in zip(points.T, RANGE[:3], RANGE[3:], strict=False)
    ]
    points = points[np.logical_and.reduce(inside)]
    cells = np.floor((points[:, :2] - np.float32(RANGE[:2])) / np.float32(SIZE[:2])).astype(int)
    voxels, places, seen = np.zeros((10000, 32, 10), np.float32), np.zeros((10000, 4), np.int32), {}
    for point, (x, y) in zip(points, cells, strict=True):
        seen.setdefault((y, x), []).append(point)
    for row, ((y, x), found) in enumerate(seen.items()):
        own = np.array(found[:32])
        centre = np.array([(x + 0.5) * 0.16, (y + 0.5) * 0.16 - 39.68, -1.0])
        voxels[row, : len(own)] = np.hstack([own, own[:, :3] - own[:, :3].mean(axis=0), own[:, :3] - centre])
        places[row] = (0, 0, y, x)
    return voxels, places[: len(seen)]


def decode(outputs: dict[str, np.ndarray]) -> np.ndarray:
    """Boxes with a score of 0.1 or more, best first: x, y, z, l, w, h, yaw, class, score."""
    rows, columns = GRID[1] // 2, GRID[0] // 2
    scores = 1 / (1 + np.exp(-outputs["cls_preds"][0].astype(float).reshape(rows, columns, 6, 3)))
    found = []
    for row, column, kind in np.argwhere(scores.max(axis=3) >= 0.1):
        length, width, height, bottom = ANCHORS[kind // 2]
        x = RANGE[0] + column * (RANGE[3] - RANGE[0]) / (columns - 1)
        y = RANGE[1] + row * (RANGE[4] - RANGE[1]) / (rows - 1)
        values = outputs["box_preds"][0, row, column].reshape(6, 7)[kind]
        turn = outputs["dir_cls_preds"][0, row, column].reshape(6, 2)[kind]
        diagonal, offset = np.hypot(length, width), 0.78539
        yaw = values[6] + (0, 1.57)[kind % 2] - offset
        yaw = yaw - np.floor(yaw / np.pi) * np.pi + offset + np.pi * (0 if turn[0] > turn[1] else 1)
        sizes = np.exp(values[3:6]) * (length, width, height)
        place = values[:2] * diagonal + (x, y)
        label = scores[row, column, kind].argmax()
        found.append(
            [*place, values[2] * height + bottom + height / 2, *sizes, yaw, label, scores[row, column, kind, label]]
        )
    boxes = np.array(found)
    return boxes[np.argsort(-boxes[:, 8], kind="stable")]


def suppressed(boxes: np.ndarray) -> list[int]:
    """Rows that stay: no class is looked at, an overlap of 0.01 is too much."""
    shapes: list[Polygon] = [
        translate(rotate(box(-b[3] / 2, -b[4] / 2, b[3] / 2, b[4] / 2), b[6], (0, 0), use_radians=True), b[0], b[1])
        for b in boxes
    ]
    kept: list[int] = []
    for row, shape in enumerate(shapes):
        overlaps = (shape.intersection(shapes[k]).area / shape.union(shapes[k]).area for k in kept)
        if all(overlap < 0.01 for overlap in overlaps):
            kept.append(row)
    return kept


def test_its_program_finds_our_boxes(exported: tuple[AnchorDetector, Path], tmp_path: Path) -> None:
    detector, folder = exported
    frame = clusters(detector.config, seed=3)
    voxels, places = pillars(frame.points)
    assert (np.abs(voxels).sum(axis=2) > 0).sum(axis=1).max() == 32
    first, second = halves(folder / "pointpillar.onnx", tmp_path)
    (features,) = first.run({"voxels": voxels}).values()
    assert features.shape == (10000, 64)
    canvas = np.zeros((1, 64, GRID[1], GRID[0]), np.float32)
    for row, (_, _, y, x) in enumerate(places):
        canvas[0, :, y, x] = features[row]
    outputs = second.run({second.inputs[0]: canvas})
    assert {name: values.shape for name, values in outputs.items()} == {
        "cls_preds": (1, 248, 216, 18), "box_preds": (1, 248, 216, 42), "dir_cls_preds": (1, 248, 216, 12),
    }  # fmt: skip
    theirs = decode(outputs)
    with torch.inference_mode():
        prediction = detector(collate([frame], detector.classes))
        score, label = torch.sigmoid(prediction.scores).flatten(0, 1).max(dim=1)
        anchors, offset = prediction.anchors.flatten(0, 1), detector.settings.head.direction_offset
        boxes = decoded_boxes(prediction.boxes.flatten(0, 1), prediction.directions.flatten(0, 1), anchors, offset)
    ours = torch.cat([boxes, label[:, None], score[:, None]], dim=1)[score >= 0.1].double().numpy()
    ours = ours[np.argsort(-ours[:, 8], kind="stable")]
    assert len(ours) == len(theirs) > 20
    np.testing.assert_allclose(theirs, ours, atol=1e-3)
    rows = suppressed(theirs)
    assert 1 < len(rows) < len(theirs)
    assert rows == suppressed(ours)


def test_the_plugin_and_the_card(exported: tuple[AnchorDetector, Path]) -> None:
    onnx = pytest.importorskip("onnx")
    _, folder = exported
    model = onnx.load(folder / "pointpillar.onnx")
    (plugin,) = [node for node in model.graph.node if node.op_type == "PPScatterPlugin"]
    assert plugin.domain == ""
    assert list(plugin.input)[1:] == ["voxel_idxs", "voxel_num"]
    assert [(a.name, list(a.ints)) for a in plugin.attribute] == [("dense_shape", [496, 432])]
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 11)]
    graph = read_card(folder).graphs["pointpillar"]
    assert graph.inputs == {"voxels": [10000, 32, 10], "voxel_idxs": [10000, 4], "voxel_num": [1]}
    assert list(graph.outputs) == ["cls_preds", "box_preds", "dir_cls_preds"]
    with pytest.raises(ConfigError, match="cuda-pointpillars's own program"):
        ExportedDetector(folder)


def test_other_numbers_than_the_program_has() -> None:
    CudaPointPillars.check(published())
    for override, text in (
        ("model.max_points=20", "model.max_points is 20, and 32"),
        ("model.head.places=centres", "model.head.places is centres"),
        ("model.head.direction_offset=0", "model.head.direction_offset"),
        ("data.range=[0.0, -39.68, -3.0, 69.12, 39.68, 2.0]", "data.range"),
        ("model.anchors.Car.z=0.0", "bottoms"),
        ("model.strides=[1, 2, 2]", "model.strides"),
        ("data.classes=[Car]", "three classes"),
    ):
        with pytest.raises(ConfigError, match=text.replace("[", r"\[")) as caught:
            CudaPointPillars.check(published(override))
        assert "\n" not in str(caught.value)


def test_too_many_pillars_and_too_many_channels(tmp_path: Path) -> None:
    detector = shaken(published())
    clouds = Clouds(clusters(detector.config))
    with pytest.raises(DataError, match=r"cloud0: has \d+ pillars, the graph takes 50"):
        export(
            detector,
            source(detector, tmp_path),
            Settings("cuda-pointpillars", most=50),
            clouds,
            tmp_path / "o",
            Console(),
        )
    wide = shaken(published("model.compression=16", "model.pillar_channels=512"))
    with pytest.raises(ConfigError, match="128 pillar channels, its plugin takes 64 at most"):
        export(wide, source(wide, tmp_path), Settings("cuda-pointpillars"), clouds, tmp_path / "o", Console())
    assert not (tmp_path / "o").exists()
