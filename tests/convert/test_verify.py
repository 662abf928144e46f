"""Our networks against the answers of the frameworks themselves; and mistakes that must be noticed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mink_pd.config import Config, load_config
from mink_pd.convert import DIALECTS, Difference, convert, published_detector, read_tensors, verify
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate
from mink_pd.errors import CheckpointError, DataError
from mink_pd.models.heads.anchors import anchor_positions, place_anchors
from mink_pd.models.layers.sparse_encoder import mean_features
from mink_pd.sparse import voxelise

PUBLISHED = Path(__file__).resolve().parents[2] / "configs" / "published"
OPENPCDET, MMDET3D = DIALECTS["openpcdet"], DIALECTS["mmdet3d"]
Shared = Callable[[str], Path]


def worst(differences: list[Difference]) -> dict[str, float]:
    return {one.stage: one.largest for one in differences if not one.agrees}


@pytest.mark.parametrize("layout", ["spconv 2", "spconv 1"])
def test_openpcdet_second(layout: str, shared: Shared) -> None:
    case = shared("checkpoint_cases") / "openpcdet_second"
    found = read_tensors(case / "checkpoint.pth", OPENPCDET.weights)
    if layout == "spconv 1":
        found |= read_tensors(case / "encoder_spconv1_layout.pth", OPENPCDET.weights)
    config = load_config(PUBLISHED / "openpcdet_second.yaml")
    tensors = convert(found, published_detector(config), OPENPCDET, "checkpoint.pth")
    differences = verify(tensors, config, OPENPCDET, case)
    assert worst(differences) == {}
    stages = {one.stage for one in differences}
    assert len(stages) == 21
    assert {"x_conv4_coords", "encoded_spconv_tensor_features", "cls_preds", "decoded_sample_box7"} <= stages
    if layout == "spconv 1":
        return
    wrong = {**tensors, "encoder.down.2.convolution.kernel": tensors["encoder.down.2.convolution.kernel"].flip(0)}
    assert "x_conv4_features" in worst(verify(wrong, config, OPENPCDET, case))
    config.model.head.places = "centres"
    assert "anchors" in worst(verify(tensors, config, OPENPCDET, case))


def test_openpcdet_pointpillars(shared: Shared) -> None:
    case = shared("checkpoint_cases") / "openpcdet_pointpillar"
    config = load_config(PUBLISHED / "openpcdet_pointpillars.yaml")
    found = read_tensors(case / "checkpoint.pth", OPENPCDET.weights)
    tensors = convert(found, published_detector(config), OPENPCDET, "checkpoint.pth")
    differences = verify(tensors, config, OPENPCDET, case)
    assert worst(differences) == {}
    assert len(differences) == 11
    coarser = load_config(PUBLISHED / "openpcdet_pointpillars.yaml", ["model.voxel_size=[0.32, 0.32, 4]"])
    assert {"anchor_sample", "top100_box7"} <= worst(verify(tensors, coarser, OPENPCDET, case)).keys()


def mmdet3d_case(cases: Path, folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """MMDetection3D's answers as a case of its own, and its weights: OpenPCDet's under the other names."""
    theirs = dict(np.load(cases / "mmdet3d" / "pointpillars_expected.npz"))
    same = np.load(cases / "openpcdet_pointpillar" / "expected.npz")
    np.savez(folder / "expected.npz", voxel_coords=same["voxel_coords"], **theirs)
    (folder / "points.bin").symlink_to(cases / "openpcdet_pointpillar" / "points.bin")
    found = read_tensors(cases / "openpcdet_pointpillar" / "checkpoint.pth", "model_state")
    mapping = json.loads((cases / "mmdet3d" / "key_map_from_openpcdet.json").read_text())["pointpillar"]
    return folder, {name: found[source] for name, source in mapping.items()}


def test_mmdet3d_pointpillars(shared: Shared, tmp_path: Path) -> None:
    case, found = mmdet3d_case(shared("checkpoint_cases"), tmp_path)
    config = load_config(PUBLISHED / "mmdet3d_pointpillars.yaml")
    tensors = convert(found, published_detector(config), MMDET3D, "checkpoint.pth")
    differences = verify(tensors, config, MMDET3D, case)
    assert worst(differences) == {}
    stages = {one.stage for one in differences}
    assert {"pillar_features_legacy", "cls_preds", "box_preds", "dir_cls_preds", "anchor_sample",
            "decoded_sample_box7", "top100_box7", "top100_label"} <= stages  # fmt: skip


def test_mmdet3d_second_anchors(shared: Shared) -> None:
    expected = np.load(shared("checkpoint_cases") / "mmdet3d" / "pointpillars_expected.npz")
    _, height, width, *_ = expected["second_anchor_shape"]
    config = load_config(PUBLISHED / "mmdet3d_second.yaml")
    model, bounds = config.model, config.data.range
    point = torch.tensor([[1.0, 1.0, -1.0, 0.0]])
    voxels = voxelise(point, torch.zeros(1).long(), 1, model.voxel_size, bounds, 3).columns()
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    coordinates = torch.stack([torch.zeros_like(x), 8 * x, 8 * y], dim=-1).reshape(-1, 3)
    positions = anchor_positions(coordinates, 8, voxels, bounds, model.head)
    anchors = place_anchors(positions, [model.anchors[name] for name in config.data.classes], model.head.headings)
    ours = anchors.view(-1, 7)[expected["second_anchor_sample_index"]].clone()
    ours[:, 2] -= ours[:, 5] / 2  # the bottom
    torch.testing.assert_close(ours, torch.from_numpy(expected["second_anchor_sample"]), atol=1e-4, rtol=0)


def test_a_case_that_is_not_there(tmp_path: Path) -> None:
    config = load_config(PUBLISHED / "openpcdet_second.yaml", ["data.range=[0,-3.2,-3,6.4,3.2,1]"])
    tensors = published_detector(config).state_dict()
    with pytest.raises(DataError, match=r"expected\.npz"):
        verify(tensors, config, OPENPCDET, tmp_path)


def own_case(folder: Path) -> tuple[Config, dict[str, torch.Tensor], dict[str, np.ndarray]]:
    """A small detector, and a case of its own answers: points in ``folder``, and the arrays."""
    config = load_config(
        PUBLISHED / "openpcdet_second.yaml", ["data.range=[0,-3.2,-3,6.4,3.2,1]", "model.compression=16"]
    )
    torch.manual_seed(0)
    detector = published_detector(config).eval()
    points = (np.random.default_rng(0).random((400, 4)) * [6.4, 6.4, 4, 1] - [0, 3.2, 3, 0]).astype(np.float32)
    points.tofile(folder / "points.bin")
    with torch.inference_mode():
        batch = collate([Frame("x", points)], detector.classes)
        prediction, voxels = detector(batch), detector.shared_input(batch)
        means = mean_features(voxels, config.model.max_points)
    answers = {
        "voxel_coords": voxels.coordinates[:, [3, 2, 1]].numpy() - [4, 0, 0],
        "voxel_features": means.numpy(),
        "cls_preds": prediction.scores.view(16, 16, 18).numpy(),
        "anchors": prediction.anchors.view(-1, 7).numpy(),
    }
    return config, detector.state_dict(), answers


def test_a_case_made_of_our_own_answers(tmp_path: Path) -> None:
    """Always runs: sites, maps and boxes that agree; and one wrong number in each is found."""
    config, tensors, answers = own_case(tmp_path)
    np.savez(tmp_path / "expected.npz", **answers)
    assert worst(verify(tensors, config, OPENPCDET, tmp_path)) == {}
    changes = {"voxel_coords": (0, 1), "voxel_features": (2, 3), "cls_preds": (3, 5, 2), "anchors": (7, 2)}
    for name, place in changes.items():
        wrong = answers[name].copy()
        wrong[place] += 1
        np.savez(tmp_path / "expected.npz", **{**answers, name: wrong})
        assert list(worst(verify(tensors, config, OPENPCDET, tmp_path))) == [name]
    np.savez(tmp_path / "expected.npz", **{**answers, "cls_preds": answers["cls_preds"][:, :-1]})
    assert worst(verify(tensors, config, OPENPCDET, tmp_path))


def test_a_case_of_intensities_of_another_scale(tmp_path: Path) -> None:
    config, tensors, answers = own_case(tmp_path)
    points = np.fromfile(tmp_path / "points.bin", np.float32).reshape(-1, 4)
    (points * np.float32([1, 1, 1, 255])).tofile(tmp_path / "points.bin")
    answers["voxel_features"] = answers["voxel_features"] * np.float32([1, 1, 1, 255])
    np.savez(tmp_path / "expected.npz", **answers)
    assert worst(verify(tensors, config, OPENPCDET, tmp_path, 255.0)) == {}


def test_missing_and_odd_arrays_are_named(tmp_path: Path) -> None:
    config, tensors, answers = own_case(tmp_path)
    boxes, index = np.zeros((2, 7)), np.arange(2)
    for arrays, name in (
        ({"anchor_sample": boxes}, "lacks anchor_sample_index"),
        ({"decoded_sample_box7": boxes}, "lacks anchor_sample_index"),
        ({"top100_score": np.zeros(2)}, "lacks top100_anchor_index"),
        ({"top100_box7": boxes, "top100_anchor_index": index}, "lacks top100_fold_margin"),
        ({"top100_label": np.array(["Car", "Car"]), "top100_anchor_index": index}, "top100_label is of type <U3"),
        ({"anchor_sample": boxes, "anchor_sample_index": index - 1}, "anchor_sample_index must hold whole numbers"),
        ({"anchor_sample": boxes, "anchor_sample_index": index / 2}, "anchor_sample_index must hold whole numbers"),
        ({"anchors": boxes[:, :6]}, r"anchors has the shape \(2, 6\), not \(any, 7\)"),
        ({"voxel_coords": answers["voxel_coords"], "voxel_features": boxes}, "voxel_features has the shape"),
        ({"point_cloud_range": np.zeros(3)}, r"point_cloud_range has the shape \(3,\), not \(6,\)"),
        ({"point_cloud_range": np.zeros(6)}, r"point_cloud_range does not fit"),
        ({"top100_box7": boxes[:0], "top100_anchor_index": index[:0], "top100_fold_margin": np.zeros(0)}, "no answer"),
        ({"spatial_features_2d_sub": boxes, "spatial_features_2d_sub0": boxes}, "no answer"),
    ):
        np.savez(tmp_path / "expected.npz", **arrays)
        with pytest.raises(CheckpointError, match=name) as caught:
            verify(tensors, config, OPENPCDET, tmp_path)
        assert "expected.npz: " in str(caught.value)
        assert "\n" not in str(caught.value)


def test_names_that_a_file_of_several_detectors_has(tmp_path: Path) -> None:
    config, tensors, answers = own_case(tmp_path)
    arrays = {"second_anchor_sample": answers["anchors"][5:9], "second_anchor_sample_index": np.arange(5, 9),
              "pointpillars_anchor_sample": np.zeros((3, 7)), "rows": np.array([1, 4]),
              "cls_preds": answers["cls_preds"][[1, 4]]}  # fmt: skip
    np.savez(tmp_path / "expected.npz", **arrays)
    found = verify(tensors, config, OPENPCDET, tmp_path)
    assert {one.stage for one in found if one.agrees} == {"cls_preds", "anchor_sample"} == {one.stage for one in found}
