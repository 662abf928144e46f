"""Importing weights: names, shapes, layouts, and what is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from convert import names
from torch import Tensor
from torch.nn import functional

from mink_pd.config import Config, load_config
from mink_pd.convert import DIALECTS, MisfitError, convert, is_counter, published_detector
from mink_pd.errors import CheckpointError, ConfigError
from mink_pd.sparse import ME, voxelise

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "configs" / "published"
OPENPCDET, MMDET3D = DIALECTS["openpcdet"], DIALECTS["mmdet3d"]


def small_second() -> tuple[Config, dict[str, Tensor]]:
    overrides = ["model.encoder_channels=[4,6,8,8,10]", "model.channels=[6,8]", "model.layers=[1,1]"]
    config = load_config(PUBLISHED / "openpcdet_second.yaml", [*overrides, "model.neck_channels=4"])
    torch.manual_seed(0)
    return config, names.second([4, 6, 8, 8, 10], [6, 8], [1, 1], 4)


def small_pointpillars(kind: str = "openpcdet") -> tuple[Config, dict[str, Tensor]]:
    overrides = ["model.pillar_channels=8", "model.channels=[8,6,4]", "model.layers=[1,1,1]", "model.neck_channels=4"]
    config = load_config(PUBLISHED / f"{kind}_pointpillars.yaml", overrides)
    torch.manual_seed(0)
    return config, names.pointpillars(8, [8, 6, 4], [1, 1, 1], 4)


def mmdet3d_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under MMDetection3D's names."""
    result = {}
    for name, tensor in tensors.items():
        new = name.replace("vfe.", "voxel_encoder.").replace("backbone_2d.deblocks", "neck.deblocks")
        new = re.sub(r"backbone_3d\.conv(\d)\.", r"middle_encoder.encoder_layers.encoder_layer\1.", new)
        new = new.replace("backbone_3d.", "middle_encoder.").replace("dense_head.conv_box", "bbox_head.conv_reg")
        new = re.sub(
            r"backbone_2d\.blocks\.(\d)\.(\d+)", lambda m: f"backbone.blocks.{m[1]}.{int(m[2]) - 1}", new
        ).replace("dense_head.", "bbox_head.")
        result[new] = tensor
    result.pop("global_step", None)
    return result


def test_every_tensor_is_taken() -> None:
    for config, tensors in (small_second(), small_pointpillars()):
        detector = published_detector(config)
        ours = convert(tensors, detector, OPENPCDET, "x.pth")
        detector.load_state_dict(ours)
        assert sorted(t.double().sum().item() for t in ours.values()) == pytest.approx(
            sorted(t.double().sum().item() for name, t in tensors.items() if name != "global_step")
        )


def test_both_layouts_of_spconv_are_dense_convolutions() -> None:
    config, tensors = small_second()
    old = {k: t.permute(1, 2, 3, 4, 0).contiguous() if t.dim() == 5 else t for k, t in tensors.items()}
    detector = published_detector(config)
    ours, from_old = (convert(t, detector, OPENPCDET, "x.pth") for t in (tensors, old))
    assert all(torch.equal(ours[name], from_old[name]) for name in ours)

    detector.load_state_dict(ours)
    block = detector.encoder.first[1].convolution  # (27, 4, 4)
    points = torch.rand(300, 4) * torch.tensor([0.4, 0.4, 0.8, 1.0])
    voxels = voxelise(points, torch.zeros(300).long(), 1, (0.05, 0.05, 0.1), (0, 0, 0, 0.4, 0.4, 0.8), 3)
    x = voxels.tensor(torch.randn(len(voxels), 4))
    grid = torch.zeros(4, 8, 8, 8)
    cx, cy, cz = x.C[:, 1:].long().t()
    grid[:, cz, cy, cx] = x.F.t()
    weight = tensors["backbone_3d.conv1.0.0.weight"].permute(0, 4, 1, 2, 3)  # (out, in, z, y, x)
    wanted = functional.conv3d(grid[None], weight, padding=1)[0][:, cz, cy, cx].t()
    with torch.no_grad():
        torch.testing.assert_close(block(x).F, wanted, atol=1e-5, rtol=1e-4)
    assert isinstance(x, ME.SparseTensor)


def test_mmdet3d_names_give_the_same_tensors() -> None:
    for config, tensors in (small_second(), small_pointpillars()):
        detector = published_detector(config)
        theirs = convert(mmdet3d_names(tensors), detector, MMDET3D, "x.pth")
        ours = convert(tensors, detector, OPENPCDET, "x.pth")
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[name], ours[name]) for name in ours if name != "encoder.linear.weight")


def test_legacy_pillar_channels_are_folded() -> None:
    config, tensors = small_pointpillars("mmdet3d")
    weight = tensors["vfe.pfn_layers.0.linear.weight"].double()  # (8, 10)
    ours = convert(mmdet3d_names(tensors), published_detector(config), MMDET3D, "x.pth")["encoder.linear.weight"]
    xyz, intensity, mean, centre = torch.randn(5, 3), torch.randn(5, 1), torch.randn(5, 3), torch.randn(5, 3)
    legacy = torch.cat([xyz - centre, intensity, xyz - mean, xyz - centre], dim=1).double()
    plain = torch.cat([xyz, intensity, xyz - mean, xyz - centre], dim=1).double()
    torch.testing.assert_close(plain @ ours.double().t(), legacy @ weight.t(), atol=1e-5, rtol=1e-5)


def test_missing_unexpected_and_misshapen_tensors_are_listed() -> None:
    config, tensors = small_second()
    detector = published_detector(config)
    del tensors["backbone_3d.conv3.1.1.bias"], tensors["dense_head.conv_cls.bias"]
    tensors["backbone_3d.conv9.0.weight"] = torch.zeros(3)
    tensors["dense_head.conv_box.weight"] = torch.zeros(14, 8, 1, 1)
    tensors["backbone_3d.conv2.0.0.weight"] = torch.zeros(6, 3, 3, 3, 5)
    tensors["teacher_gcn_adapt.0.conv.weight"] = torch.zeros(3)  # PointDistiller's adapters are dropped knowingly
    with pytest.raises(MisfitError) as caught:
        convert(tensors, detector, OPENPCDET, "x.pth")
    assert {(one.kind, one.name) for one in caught.value.misfits} == {
        ("missing", "backbone_3d.conv3.1.1.bias"),
        ("missing", "dense_head.conv_cls.bias"),
        ("unexpected", "backbone_3d.conv9.0.weight"),
        ("misshapen", "backbone_3d.conv2.0.0.weight"),
        ("misshapen", "dense_head.conv_box.weight"),
    }
    text = str(caught.value)
    assert "\n" not in text
    for part in ("x.pth", "2 missing (backbone_3d.conv3.1.1.bias, ...)", "1 unexpected (backbone_3d.conv9.0.weight)"):
        assert part in text


def test_old_mmdet3d_pillars_are_refused_with_the_reason() -> None:
    config, tensors = small_pointpillars("mmdet3d")
    tensors["vfe.pfn_layers.0.linear.weight"] = torch.randn(8, 9)
    with pytest.raises(CheckpointError, match=r"MMDetection3D before 1\.0"):
        convert(mmdet3d_names(tensors), published_detector(config), MMDET3D, "x.pth")


def test_intensities_of_another_scale_are_scaled() -> None:
    for (config, tensors), first in (
        (small_second(), "encoder.first.0.convolution.kernel"),
        (small_pointpillars(), "encoder.linear.weight"),
    ):
        detector = published_detector(config)
        plain, raw = (convert(tensors, detector, OPENPCDET, "x.pth", intensity) for intensity in (None, 255.0))
        assert [name for name in plain if not torch.equal(plain[name], raw[name])] == [first]
        scaled = plain[first].clone()
        scaled[:, 3] *= 255
        torch.testing.assert_close(raw[first], scaled)


def test_missing_counters_begin_at_zero() -> None:
    config, tensors = small_pointpillars()
    detector = published_detector(config)
    wanted = convert(tensors, detector, OPENPCDET, "x.pth")
    found = {name: tensor for name, tensor in tensors.items() if not is_counter(name)}
    ours = convert(found, detector, OPENPCDET, "x.pth")
    detector.load_state_dict(ours)
    assert ours.keys() == wanted.keys()
    assert all(tensor == 0 if is_counter(name) else torch.equal(tensor, wanted[name]) for name, tensor in ours.items())


def test_sparse_form_is_refused() -> None:
    config, _ = small_second()
    config.model.bev = "sparse"
    with pytest.raises(ConfigError, match=r"model\.bev=dense; use --config published/FORMAT_second"):
        published_detector(config)


LISTS = [
    ("mmdet3d_1x_pointpillars_hv_secfpn_kitti-3d-3class", "pointpillars", 1),
    ("mmdet3d_1x_second_hv_secfpn_kitti-3d-3class", "second", 1),
    ("mmdet3d_1x_point_rcnn_kitti-3d-3class", "pointrcnn_1x", 1),
    *(
        (f"pointdistiller_{model}_3class_{who}", model, compression)
        for model in ("pointpillars", "second")
        for who, compression in (("teacher", 1), ("student_4x", 4), ("student_16x", 16))
    ),
    *(
        (f"pointdistiller_point_rcnn_3class_{who}", "pointrcnn", compression)
        for who, compression in (("teacher", 1), ("student_8x", 7.84), ("student_16x", 16))
    ),
]


@pytest.mark.parametrize(("name", "model", "compression"), LISTS)
def test_released_key_lists_map_completely(
    name: str, model: str, compression: int, shared: Callable[[str], Path]
) -> None:
    listed = json.loads((shared("checkpoint_cases") / "mmdet3d" / f"{name}.json").read_text())["entries"]
    tensors = {key: torch.zeros(shape) for key, shape in listed.items()}
    config = load_config(PUBLISHED / f"mmdet3d_{model}.yaml", [f"model.compression={compression}"])
    detector = published_detector(config)
    ours = convert(tensors, detector, MMDET3D, name)
    adapters = [key for key in tensors if "gcn_adapt" in key]
    folded = 24 if "point_rcnn" in name else 0  # biases before the norms of the set abstractions
    assert len(ours) == len(tensors) - len(adapters) - folded
    detector.load_state_dict(ours)
    wrong = published_detector(load_config(PUBLISHED / f"mmdet3d_{model}.yaml", ["model.compression=2"]))
    with pytest.raises(CheckpointError, match="misshapen"):
        convert(tensors, wrong, MMDET3D, name)
