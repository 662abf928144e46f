"""PointRCNN's weights: a checkpoint as each framework would write it, and the same outputs at every stage."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from convert import point_reference as reference
from torch import Tensor

from mink_pd.config import Config, load_config
from mink_pd.convert import DIALECTS, MisfitError, convert, published_detector, verify
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate
from mink_pd.errors import ConfigError
from mink_pd.models.detectors.pointrcnn import PointRCNN
from mink_pd.models.detectors.pointrcnn.region_stage import Regions
from mink_pd.models.detectors.pointrcnn.roi import boxes_from_frame

PUBLISHED = Path(__file__).resolve().parents[2] / "configs" / "published"
CLASSES = ("Car", "Pedestrian", "Cyclist")


def small(kind: str, tmp_path: Path, **model: object) -> Config:
    return load_config(reference.small_config(kind, tmp_path / "small.yaml", **model))


def written(kind: str) -> tuple[reference.Reference, dict[str, Tensor]]:
    """A network of the framework, and what it would save."""
    torch.manual_seed(0)
    theirs = reference.KINDS[kind](reference.SHAPE).eval()
    reference.scramble(theirs)
    return theirs, reference.state_dict(theirs)


def differences(kind: str, config: Config) -> dict[str, float]:
    """Largest difference of each stage between the framework's network and ours with its weights."""
    theirs, tensors = written(kind)
    detector = published_detector(config)
    assert isinstance(detector, PointRCNN)
    detector.load_state_dict(convert(tensors, detector, DIALECTS[kind], "x.pth"))
    cloud = np.random.default_rng(0).uniform([2, -4, -2, 0], [12, 4, 1, 1], (400, 4)).astype(np.float32)
    with torch.no_grad():
        prediction = detector.eval()(collate([Frame("x", cloud)], detector.classes))
        points, labels = prediction.sample.points[0], prediction.scores.argmax(dim=1)
        features, logits, codes = theirs.first_stage(points)
        boxes = reference.decode_points(codes, points[:, :3], logits.argmax(dim=1))
        ours = detector.coder.decode(prediction.codes, points[:, :3], detector.sizes[labels])
        result = {"features": prediction.features - features, "point class": prediction.scores - logits,
                  "point code": prediction.codes - codes, "point box": ours - boxes}  # fmt: skip
        regions = some_regions(points, boxes)
        second = detector.refine(prediction, regions)
        logits, codes = theirs.second_stage(points, features, logits, regions.boxes)
        seen = detector.refiner.decode(second[1], torch.zeros_like(second[2]), second[2])
        refined = reference.decode_regions(codes, regions.boxes, theirs.bottom)
        result |= {"region class": second[0] - logits, "region code": second[1] - codes,
                   "region box": boxes_from_frame(seen, regions.boxes) - refined}  # fmt: skip
    assert features.std() > 0.1
    assert logits.std() > 1e-3
    return {name: float(value.abs().max()) for name, value in result.items()}


def some_regions(points: Tensor, boxes: Tensor) -> Regions:
    """Boxes of moderate size around points, turned as the network says; the last one is empty."""
    chosen = boxes[:12].clone()
    chosen[:, :3] = points[:12, :3]
    chosen[:, 3:6] = chosen[:, 3:6].clamp(1.0, 4.0)
    chosen[-1, :3] = torch.tensor([50.0, 30.0, 0.0])
    zero = torch.zeros(12)
    return Regions(chosen, zero.long(), zero, zero.long())


@pytest.mark.parametrize("kind", list(reference.KINDS))
def test_every_stage_is_the_frameworks(kind: str, tmp_path: Path) -> None:
    found = differences(kind, small(kind, tmp_path))
    assert {name: value for name, value in found.items() if value > 1e-4} == {}
    assert len(found) == 7


@pytest.mark.parametrize(
    ("kind", "change", "first"),
    [
        ("openpcdet", {"norm_epsilon": 1e-3}, "features"),
        ("mmdet3d", {"norm_epsilon": 1e-5}, "features"),
        ("mmdet3d", {"roi": {"heights": "centre"}}, "region class"),
        ("openpcdet", {"roi": {"heights": "bottom"}}, "region class"),
        ("openpcdet", {"roi": {"margin": 1.0}}, "region class"),
        ("mmdet3d", {"roi": {"depth": 20.0}}, "region class"),
        ("mmdet3d", {"sizes": {name: [1.0, 1.0, 1.0] for name in CLASSES}}, "point box"),
    ],
)
def test_another_convention_is_noticed(kind: str, change: dict, first: str, tmp_path: Path) -> None:
    wrong = {name: value for name, value in differences(kind, small(kind, tmp_path, **change)).items() if value > 1e-3}
    assert next(iter(wrong)) == first


@pytest.mark.parametrize(("kind", "layer"), [
    ("openpcdet", "backbone_3d.FP_modules.0.mlp.1.running_mean"),
    ("openpcdet", "roi_head.reg_layers.4.weight"),
    ("mmdet3d", "backbone.SA_modules.1.mlps.0.layer1.conv.bias"),
    ("mmdet3d", "roi_head.bbox_head.xyz_up_layer.1.conv.bias"),
])  # fmt: skip
def test_a_missing_and_a_misshapen_entry_are_named(kind: str, layer: str, tmp_path: Path) -> None:
    detector = published_detector(small(kind, tmp_path))
    tensors = written(kind)[1]
    assert layer in tensors
    for text, change in (("missing", None), ("misshapen", torch.zeros(3, 2))):
        broken = {name: tensor for name, tensor in tensors.items() if name != layer}
        broken |= {} if change is None else {layer: change}
        with pytest.raises(MisfitError) as caught:
            convert(broken, detector, DIALECTS[kind], "x.pth")
        assert [(one.kind, one.name) for one in caught.value.misfits] == [(text, layer)]


@pytest.mark.parametrize("kind", list(reference.KINDS))
def test_intensities_of_another_scale_are_scaled(kind: str, tmp_path: Path) -> None:
    detector, tensors = published_detector(small(kind, tmp_path)), written(kind)[1]
    plain, raw = (convert(tensors, detector, DIALECTS[kind], "x.pth", largest) for largest in (None, 255.0))
    first = [f"backbone.down.0.mlps.{scale}.first.weight" for scale in range(2)]
    assert [name for name in plain if not torch.equal(plain[name], raw[name])] == first
    for name in first:
        torch.testing.assert_close(raw[name], plain[name] * torch.tensor([1.0, 1.0, 1.0, 255.0]))


def test_bins_and_verify_are_refused(tmp_path: Path) -> None:
    config = small("openpcdet", tmp_path)
    with pytest.raises(ConfigError, match="--verify"):
        verify({}, config, DIALECTS["openpcdet"], _empty_case(tmp_path))
    config.model.box_coder = "bins"
    with pytest.raises(ConfigError, match=r"model\.box_coder=residual; use --config published/FORMAT_pointrcnn"):
        published_detector(config)


def _empty_case(folder: Path) -> Path:
    np.savez(folder / "expected.npz", nothing=np.zeros(1))
    return folder


@pytest.mark.parametrize("name", ["mmdet3d_pointrcnn", "mmdet3d_pointrcnn_1x"])
def test_each_index_has_the_mean_size_it_was_trained_with(name: str) -> None:
    """Mean sizes stand in one order whatever the classes' is (checkpoint_cases/mmdet3d)."""
    config = load_config(PUBLISHED / f"{name}.yaml")
    ours = torch.tensor([config.model.sizes[label] for label in config.data.classes])
    assert torch.equal(ours, reference.SIZES)


def test_published_epsilons(shared: Callable[[str], Path]) -> None:
    case = shared("checkpoint_cases") / "mmdet3d" / "mmdet3d_1x_point_rcnn_kitti-3d-3class.json"
    listed = json.loads(case.read_text())["batchnorm"]
    assert listed["majority"].endswith("eps=0.001")
    small_ones = {name for names in listed["exceptions"].values() for name in names}
    detector = published_detector(load_config(PUBLISHED / "mmdet3d_pointrcnn.yaml"))
    modules = dict(detector.named_modules())
    pairs = [(theirs, modules[ours].eps) for theirs, ours in DIALECTS["mmdet3d"].modules(detector) if "norm" in ours]
    assert len(pairs) == 49
    assert all(eps == (1e-5 if theirs in small_ones else 1e-3) for theirs, eps in pairs)
