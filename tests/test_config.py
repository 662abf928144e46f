"""Model sections of several detectors in one configuration: defaults, overrides, errors, round trips."""

import re
from pathlib import Path

import pytest

from mink_pd.config import Config, dump_config, load_config
from mink_pd.config.models import PointPillarsConfig, SecondConfig
from mink_pd.errors import ConfigError
from mink_pd.models import build_detector
from mink_pd.registry import DETECTORS

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted([*ROOT.glob("configs/*.yaml"), *ROOT.glob("configs/published/*_[!h]*.yaml")])


def load(folder: Path, text: str, *overrides: str) -> Config:
    (folder / "x.yaml").write_text(text)
    return load_config(folder / "x.yaml", list(overrides))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_files_describe_detectors_and_survive_a_round_trip(path: Path, tmp_path: Path) -> None:
    config = load_config(path, ["model.compression=16"])
    assert load(tmp_path, dump_config(config)) == config
    assert Config.model_validate_json(config.model_dump_json()) == config
    taps = build_detector(config).tap_channels()
    assert set(config.distill.pointdistiller.taps) <= taps.keys()


def test_the_name_chooses_the_section(tmp_path: Path) -> None:
    assert isinstance(load(tmp_path, "").model, PointPillarsConfig)
    assert isinstance(load(tmp_path, "model: {compression: 4}").model, PointPillarsConfig)
    second = load(tmp_path, "model: {name: second}", "model.encoder_channels=[4,4,4,4,8]", "model.compression=4")
    assert isinstance(second.model, SecondConfig)
    assert second.model.encoder_channels[-1] == 8
    assert second.model.voxel_size == (0.05, 0.05, 0.1)
    assert load(tmp_path, "", "model.name=second").model.name == "second"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("model: {name: second, encoder_chanels: [1]}", ["x.yaml", "model.encoder_channels'?"]),
        ("model: {pilar_channels: 3}", ["model.pillar_channels'?"]),
        ("model: {name: second, head: {place: ends}}", ["'model.head.places'?"]),
        ("model: {name: secnd}", ["'model.name'", *DETECTORS, "'secnd'"]),
        ("model: {name: second, layers: [5, a]}", ["x.yaml", "'model.layers.1'", "got 'a'"]),
        ("model: {layers: [1, 2]}", ["'model'", "one number a stage"]),
        ("model: {empty_slots: true}", ["max_points"]),
        ("model: {name: second, anchors: {}}", ["model.anchors", "Car"]),
        ("model: 5", ["'model'", "keys and values"]),
    ],
)
def test_errors_name_the_key_and_no_word_of_the_union(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert ".pointpillars." not in message
    assert ".second." not in message


def test_later_bases_lie_over_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("train: {epochs: 3, batch_size: 7}\nmodel: {name: second}")
    (tmp_path / "b.yaml").write_text("train: {epochs: 5}")
    config = load(tmp_path, "base: [a.yaml, b.yaml]\nmodel: {compression: 4}")
    assert (config.train.epochs, config.train.batch_size) == (5, 7)
    assert (config.model.name, config.model.compression) == ("second", 4)
    (tmp_path / "b.yaml").write_text("train: {epoch: 5}")
    with pytest.raises(ConfigError, match=r"b\.yaml: unknown key 'train\.epoch'"):
        load(tmp_path, "base: [a.yaml, b.yaml]")


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("data.range=[0, 70.4, -40, 40, -3, 1]", "data.range"),
        ("data.range=[-50, 50, -50, 50, -5, 3]", "data.range"),
        ("data.range=[10, -40, -3, 0, 40, 1]", "data.range"),
        ("data.range=[0, -40, -3, .inf, 40, 1]", "data.range.3"),
        ("data.range=[0, -40, -3, 70.4, 40, -3]", "data.range"),
        ("data.range=[0, -40, -3, 70.4, 40]", "data.range"),
        ("model.voxel_size=[-0.4, 0.4, 4]", "model.voxel_size.0"),
        ("model.voxel_size=[0.4, 0, 4]", "model.voxel_size.1"),
        ("model.voxel_size=[100, 0.4, 4]", "model.voxel_size"),
        ("model.voxel_size=[0.4, 0.001, 4]", "model.voxel_size"),
        ("model.strides=[2, 0, 2]", "model.strides.1"),
        ("model.channels=[64, -1, 2]", "model.channels.1"),
        ("model.layers=[1, -1, 1]", "model.layers.1"),
        ("model.anchors.Car={size: [3.9, 0, 1.5], z: -1, matched: 0.6, unmatched: 0.45}", "model.anchors.Car.size.1"),
        ("model.anchors.Car={size: [3.9, 1, 1.5], z: -1, matched: 0.4, unmatched: 0.45}", "model.anchors.Car"),
        ("model.anchors.Car={size: [3.9, 1, 1.5], z: -1, matched: 6, unmatched: 0.45}", "model.anchors.Car.matched"),
        ("model.loss.box=-1", "model.loss.box"),
        ("data.classes=[]", "data.classes"),
        ("data.classes=[Car, car]", "data.classes"),
        ("data.augment.scaling=[0, 1]", "data.augment.scaling.0"),
        ("data.augment.scaling=[1.1, 0.9]", "data.augment.scaling"),
        ("data.augment.rotation=[1, -1]", "data.augment.rotation"),
        ("data.augment.ground_truth_sampling={Car: -3}", "data.augment.ground_truth_sampling.Car"),
        ("data.augment.object_noise={shift: [-1, 0, 0]}", "data.augment.object_noise.shift.0"),
        ("data.intensity=0", "data.intensity"),
        ("data.intensity=bright", "data.intensity"),
        ("data.columns=[x, y, intensity]", "data.columns"),
        ("data.columns=[x, y, z, x]", "data.columns"),
        ("data.dtype=object", "data.dtype"),
        ("data.dtype=[float32, uint8]", "data"),
        ("data.own_vehicle=[1, 0, 0, 0, 1, 1]", "data.own_vehicle"),
    ],
)
def test_a_setting_that_describes_nothing_is_named(setting: str, key: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(key)) as error:
        load_config("pointpillars_kitti", [setting])
    assert "\n" not in str(error.value)
