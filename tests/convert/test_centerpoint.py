"""Importing CenterPoint: names, what numbers mean, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from convert.center_reference import CLASSES, TASKS, Published, residual_encoder
from torch import Tensor
from torch.nn import functional

from mink_pd.config import Config, load_config
from mink_pd.convert import DIALECTS, MisfitError, convert, intensity_columns, published_detector
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate
from mink_pd.errors import ConfigError
from mink_pd.models.heads.center_targets import decode

PUBLISHED = Path(__file__).resolve().parents[2] / "configs" / "published"
FRAMEWORKS = ["det3d", "openpcdet", "mmdet3d"]


def small_pillars(framework: str, *more: str) -> tuple[Config, Published]:
    layers = "[]" if framework == "mmdet3d" else "[12]"
    overrides = [f"model.pillar_layers={layers}", "model.pillar_channels=8", "model.channels=[6,8,10]",
                 "model.layers=[1,1,1]", "model.neck_channels=8", "model.head.channels=10",
                 "model.voxel_size=[0.8,0.8,8.0]", "data.range=[-6.4,-6.4,-5.0,6.4,6.4,3.0]",
                 f"data.classes={CLASSES}", f"model.tasks={TASKS}"]  # fmt: skip
    config = load_config(PUBLISHED / f"{framework}_centerpoint_pillars.yaml", [*overrides, *more])
    torch.manual_seed(0)
    widths = [8] if framework == "mmdet3d" else [12, 8]
    return config, Published(framework, widths, [6, 8, 10], neck=8, head=10).eval()


def small_voxels(framework: str) -> tuple[Config, dict[str, Tensor]]:
    config, theirs = small_pillars(framework)
    names = ("reader.", "vfe.", "pts_voxel_encoder.")
    tensors = {name: tensor for name, tensor in theirs.state_dict().items() if not name.startswith(names)}
    overrides = ["model.encoder_channels=[4,6,8,10,4]", "model.channels=[6,8,10]", "model.strides=[2,2,2]",
                 "model.layers=[1,1,1]", "model.neck_channels=8", "model.head.channels=10", "model.neck_stage=2",
                 "model.voxel_size=[0.1,0.1,0.2]", "data.range=[-6.4,-6.4,-5.0,6.4,6.4,3.0]",
                 f"data.classes={CLASSES}", f"model.tasks={TASKS}"]  # fmt: skip
    config = load_config(PUBLISHED / f"{framework}_centerpoint_voxels.yaml", overrides)
    return config, tensors | residual_encoder(framework, [4, 6, 8, 10, 4])


@torch.no_grad()
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_boxes_are_those_of_the_framework(framework: str) -> None:
    """From points to boxes, scores and velocities: intensities of 0..255 there, of 0..1 here."""
    config, theirs = small_pillars(framework)
    random = np.random.default_rng(0)
    raw = random.uniform([-6.4, -6.4, -5, 0, 0], [6.4, 6.4, 3, 255, 0.5], (600, 5)).astype(np.float32)
    raw[:40, :2] = random.uniform(0.0, 0.8, (40, 2))  # a pillar of more points than slots
    detector = published_detector(config).eval()
    detector.load_state_dict(convert(theirs.state_dict(), detector, DIALECTS[framework], "x.pth"))
    cloud = raw.copy()
    cloud[:, 3] /= 255
    prediction = detector(collate([Frame("0", cloud)], CLASSES))
    for task, wanted in enumerate(theirs(torch.from_numpy(raw))):
        boxes = decode(prediction.boxes[:, task], prediction.corners, prediction.cell).view(4, 4, 7)
        torch.testing.assert_close(boxes[..., :6], wanted["boxes"][..., :6], atol=1e-3, rtol=1e-3)
        turn = torch.remainder(boxes[..., 6] - wanted["boxes"][..., 6] + torch.pi, 2 * torch.pi) - torch.pi
        assert turn.abs().max() < 1e-2
        labels = [CLASSES.index(name) for name in TASKS[task]]
        scores = prediction.scores[:, labels].sigmoid().view(4, 4, -1)
        torch.testing.assert_close(scores, wanted["scores"], atol=1e-4, rtol=1e-3)
        moving = prediction.velocities[:, task].view(4, 4, 2)
        torch.testing.assert_close(moving, wanted["velocities"], atol=1e-3, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_residual_encoders_map_completely(framework: str) -> None:
    config, tensors = small_voxels(framework)
    detector = published_detector(config).eval()
    detector.load_state_dict(convert(tensors, detector, DIALECTS[framework], "x.pth"))
    block = {
        "det3d": "backbone.conv3.4",
        "openpcdet": "backbone_3d.conv3.2",
        "mmdet3d": "pts_middle_encoder.encoder_layers.encoder_layer3.1",
    }[framework]
    x = torch.randn(50, 8)  # alone, a site sees the middle of a kernel
    y = x
    for half in (1, 2):
        bias = tensors.get(f"{block}.conv{half}.bias", torch.zeros(8))
        y = y @ tensors[f"{block}.conv{half}.weight"][1, 1, 1] + bias
        mean, var, weight, shift = (
            tensors[f"{block}.bn{half}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        y = functional.batch_norm(y, mean, var, weight, shift, eps=1e-3)
        y = y.relu() if half == 1 else (x + y).relu()
    ours = detector.encoder.same[1][1]
    z = x
    for half in (ours.first, ours.second):
        z = half.norm(z @ half.convolution.kernel[13])
        z = z.relu() if half.relu else (x + z).relu()
    torch.testing.assert_close(z, y, atol=1e-4, rtol=1e-3)
    first = {"det3d": "backbone", "openpcdet": "backbone_3d", "mmdet3d": "pts_middle_encoder"}[framework]
    kernel = tensors[f"{first}.conv_input.0.weight"].flatten(0, 2)  # (27, 5, 4)
    mine = detector.encoder.first[0].convolution.kernel
    torch.testing.assert_close(mine[:, 3], 255 * kernel[:, 3])
    torch.testing.assert_close(mine[:, [0, 1, 2, 4]], kernel[:, [0, 1, 2, 4]])
    for stage, name in enumerate(("conv2", "conv3", "conv4")):
        down = {"det3d": f"backbone.{name}.0", "openpcdet": f"backbone_3d.{name}.0.0",
                "mmdet3d": f"pts_middle_encoder.encoder_layers.encoder_layer{stage + 1}.2.0"}[framework]  # fmt: skip
        assert torch.equal(detector.encoder.down[stage].convolution.kernel, tensors[f"{down}.weight"].flatten(0, 2))


def test_a_time_lag_is_no_intensity() -> None:
    config, theirs = small_pillars("openpcdet", "model.intensity=false")
    name = "vfe.pfn_layers.0.linear.weight"
    weight = theirs.state_dict()[name][:, [0, 1, 2, *range(4, 11)]]  # x, y, z, time lag, offsets
    detector = published_detector(config)
    ours = convert(theirs.state_dict() | {name: weight}, detector, DIALECTS["openpcdet"], "x.pth")
    assert torch.equal(ours["encoder.hidden.0.linear.weight"], weight)
    assert not list(intensity_columns(detector))


def test_missing_unexpected_and_misshapen_tensors_are_listed() -> None:
    config, theirs = small_pillars("openpcdet")
    tensors = dict(theirs.state_dict())
    del tensors["dense_head.heads_list.1.rot.1.bias"]
    tensors["dense_head.heads_list.1.iou.1.weight"] = torch.zeros(1, 10, 3, 3)
    tensors["dense_head.heads_list.0.dim.1.weight"] = torch.zeros(4, 10, 3, 3)
    tensors["vfe.pfn_layers.0.linear.weight"] = torch.zeros(6, 3)
    tensors["dense_head.shared_conv.0.bias"] = torch.zeros(3)
    with pytest.raises(MisfitError) as caught:
        convert(tensors, published_detector(config), DIALECTS["openpcdet"], "x.pth")
    assert {(one.kind, one.name) for one in caught.value.misfits} == {
        ("missing", "dense_head.heads_list.1.rot.1.bias"),
        ("unexpected", "dense_head.heads_list.1.iou.1.weight"),
        ("misshapen", "dense_head.heads_list.0.dim.1.weight"),
        ("misshapen", "vfe.pfn_layers.0.linear.weight"),
        ("misshapen", "dense_head.shared_conv.0.bias"),
    }


def test_deformable_heads_are_refused() -> None:
    config, theirs = small_pillars("det3d")
    tensors = dict(theirs.state_dict())
    tensors["bbox_head.tasks.0.feature_adapt_cls.conv_offset.weight"] = torch.zeros(72, 10, 1, 1)
    with pytest.raises(MisfitError, match=r"1 unexpected .*feature_adapt_cls"):
        convert(tensors, published_detector(config), DIALECTS["det3d"], "x.pth")


def test_other_frameworks_names_and_the_sparse_form_are_refused() -> None:
    config, theirs = small_pillars("mmdet3d")
    with pytest.raises(MisfitError, match="missing"):
        convert(theirs.state_dict(), published_detector(config), DIALECTS["det3d"], "x.pth")
    config, _ = small_pillars("mmdet3d", "model.bev=sparse")
    with pytest.raises(ConfigError, match=r"model\.bev=dense"):
        published_detector(config)


def test_det3d_has_no_weights_of_other_detectors() -> None:
    detector = published_detector(load_config(PUBLISHED / "openpcdet_second.yaml"))
    with pytest.raises(ConfigError, match="no published weights of second"):
        convert({}, detector, DIALECTS["det3d"], "x.pth")


def test_encoders_without_residual_blocks() -> None:
    config, tensors = small_voxels("openpcdet")
    config.model.residual = False
    with pytest.raises(MisfitError, match=r"missing \(backbone_3d\.conv1\.0\.0"):
        convert(tensors, published_detector(config), DIALECTS["openpcdet"], "x.pth")
    config, tensors = small_voxels("det3d")
    config.model.residual = False
    with pytest.raises(ConfigError, match=r"model\.residual"):
        convert(tensors, published_detector(config), DIALECTS["det3d"], "x.pth")


@pytest.mark.parametrize("name", sorted(path.name for path in PUBLISHED.glob("*centerpoint*.yaml")))
def test_published_geometries_are_built(name: str) -> None:
    detector = published_detector(load_config(PUBLISHED / name))
    assert detector.neck_channels == (384 if "pillars" in name else 512)
    assert len(detector.tasks) == 6
