"""Settings and classes with which weights would fit and mean something else."""

from pathlib import Path

import pytest

from mink_pd.config import Config, load_config
from mink_pd.config.shipped import shipped_names
from mink_pd.convert import Stated, check_settings, check_stated
from mink_pd.errors import CheckpointError, ConfigError

FILE = Path("x.pth")
OTHERS = ("mmdet3d_head", "openpcdet_head", "pointdistiller_nuscenes")  # parts; a network without importable weights


def published(name: str, *overrides: str) -> Config:
    return load_config(f"published/{name}", list(overrides))


@pytest.mark.parametrize("name", [name for name in shipped_names("published") if name not in OTHERS])
def test_published_configurations_are_their_frameworks(name: str) -> None:
    framework = name.partition("_")[0].replace("pointdistiller", "mmdet3d")
    assert check_settings(published(name), framework, []) == []


def test_a_users_own_classes_range_anchors_and_slots() -> None:
    config = published(
        "openpcdet_pointpillars", "data.classes=[Van]", "data.range=[0,-20.48,-3,40.96,20.48,1]", "model.max_points=20",
        "model.anchors={Van: {size: [5, 2, 2], z: -0.8, matched: 0.6, unmatched: 0.45}}",
        "model.head.headings=[0.0,1.5708]", "model.nms.score=0.3",
    )  # fmt: skip
    assert check_settings(config, "openpcdet", []) == []


@pytest.mark.parametrize(
    ("name", "framework", "keys"),
    [
        ("pointpillars_kitti", "openpcdet", ["bev=dense", "head.places=ends", "max_points=32", "empty_slots=true"]),
        ("second_kitti", "mmdet3d", ["bev=dense", "head.places=ends", "head.direction_offset=-1.57", "max_points=5"]),
        ("pointrcnn_kitti", "openpcdet", ["box_coder=residual", "norm_epsilon=1e-05", "roi.margin=0.0"]),
        ("centerpoint_nuscenes", "mmdet3d", ["bev=dense", "max_points=20", "empty_slots=true"]),
        ("published/mmdet3d_pointpillars", "openpcdet", ["head.places=ends", "head.direction_offset=0.78539"]),
        ("published/mmdet3d_second", "openpcdet", ["head.direction_offset=0.78539"]),
        ("published/openpcdet_pointrcnn", "mmdet3d", ["norm_epsilon=0.001", "roi.heights=bottom"]),
    ],
)
def test_another_frameworks_conventions_are_refused(name: str, framework: str, keys: list[str]) -> None:
    config = load_config(name)
    with pytest.raises(ConfigError) as caught:
        check_settings(config, framework, ["data.classes=[Car]"])
    text = str(caught.value)
    assert "\n" not in text
    assert f"use --config published/{framework}_{config.model.name}" in text
    assert [key for key in keys if f"model.{key}" not in text] == []


def test_settings_of_the_command_line_are_taken_and_told() -> None:
    overrides = ["model.head.direction_offset=-0.7854"]
    config = published("mmdet3d_pointpillars", *overrides)
    (line,) = check_settings(config, "mmdet3d", overrides)
    assert "model.head.direction_offset=-1.57079633 (not -0.7854)" in line
    with pytest.raises(ConfigError, match="direction_offset"):
        check_settings(config, "mmdet3d", ["model.head.places=centres"])


def test_a_detector_without_published_weights_is_left_to_its_names() -> None:
    assert check_settings(load_config("second_kitti"), "det3d", []) == []


@pytest.mark.parametrize(
    ("stated", "remedy"),
    [
        (("Car", "Pedestrian", "Cyclist"), "set data.classes=[Car,Pedestrian,Cyclist]"),
        (("car", "pedestrian", "cyclist"), "set data.classes=[Car,Pedestrian,Cyclist]"),
        (("Pedestrian", "Cyclist"), "set data.classes=[Pedestrian,Cyclist]"),
        (("Pedestrian", "Cyclist", "Van"), "set data.classes=[Pedestrian,Cyclist,Van]"),
    ],
)
def test_other_classes_than_the_file_states_are_refused(stated: tuple[str, ...], remedy: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        check_stated(FILE, Stated(stated, ""), published("mmdet3d_second"), "mmdet3d")
    text = str(caught.value)
    assert text.startswith(f"x.pth: was trained on the classes [{','.join(stated)}], and data.classes is [Pedestrian,")
    assert text.endswith(remedy)


@pytest.mark.parametrize("stated", [(), ("Pedestrian", "Cyclist", "Car"), ("pedestrian", "cyclist", "car")])
def test_the_same_classes_are_taken(stated: tuple[str, ...]) -> None:
    check_stated(FILE, Stated(stated, ""), published("mmdet3d_second"), "mmdet3d")


def test_sizes_that_go_with_another_order_are_pointed_to() -> None:
    """In MMDetection3D 1.4 PointRCNN's mean sizes stay where they were when the classes move."""
    with pytest.raises(CheckpointError, match="; use --config published/mmdet3d_pointrcnn_1x, or one with"):
        check_stated(FILE, Stated(("Pedestrian", "Cyclist", "Car"), ""), published("mmdet3d_pointrcnn"), "mmdet3d")


def test_the_order_of_centerpoints_classes_is_that_of_its_tasks() -> None:
    config = published("mmdet3d_centerpoint_voxels")
    names = [name for group in config.model.groups(config.data.classes) for name in group]
    assert names != config.data.classes
    check_stated(FILE, Stated(tuple(names), ""), config, "mmdet3d")
    with pytest.raises(CheckpointError, match=r"model\.tasks is \[\[car\],\[truck,constr.*set model.tasks to groups"):
        check_stated(FILE, Stated(tuple(config.data.classes), ""), config, "mmdet3d")


@pytest.mark.parametrize("text", ["dict(type='PillarFeatureNet', legacy=False)", "{'legacy': False}"])
def test_pillar_channels_that_are_not_legacy_are_refused(text: str) -> None:
    config = published("mmdet3d_pointpillars")
    with pytest.raises(CheckpointError, match="legacy=False"):
        check_stated(FILE, Stated((), text), config, "mmdet3d")
    check_stated(FILE, Stated((), text.replace("False", "True")), config, "mmdet3d")
    check_stated(FILE, Stated((), text), published("mmdet3d_centerpoint_pillars"), "mmdet3d")  # its channels
