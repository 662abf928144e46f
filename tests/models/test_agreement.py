"""The configuration of a checkpoint is the truth: what contradicts it is named."""

from pathlib import Path

import pytest

from mink_pd.config import Config, dump_config
from mink_pd.config.models import AnchorConfig, PointPillarsConfig
from mink_pd.errors import CheckpointError, ConfigError
from mink_pd.models import build_detector
from mink_pd.models.agreement import evaluated_config
from mink_pd.models.checkpoint import save_weights


def own(**model: object) -> Config:
    small = {"pillar_channels": 8, "channels": [8, 8, 8], "layers": [1, 1, 1], "neck_channels": 8} | model
    return Config(name="t", model=PointPillarsConfig(**small))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    config = own()
    save_weights(tmp_path / "x.safetensors", build_detector(config).state_dict(), config, epoch=1)
    return tmp_path / "x.safetensors"


def test_alone_it_is_enough_and_its_own_file_agrees(weights: Path, tmp_path: Path) -> None:
    assert evaluated_config(weights, None, []) == (own(), [])
    (tmp_path / "c.yaml").write_text(dump_config(own()))
    assert evaluated_config(weights, tmp_path / "c.yaml", []) == (own(), [])


CONTRADICTIONS = {
    "model.voxel_size": "[0.2, 0.2, 4.0]",
    "model.compression": "4",
    "model.anchors.Car.size": "[3, 1.2, 1]",
    "model.anchors.Car.z": "0",
    "model.max_points": "32",
    "model.head.direction_offset": "0",
    "model.head.places": "ends",
    "model.strides": "[1, 2, 2]",
    "data.classes": "[Pedestrian, Car, Cyclist]",
    "data.range": "[0, -40, -3, 70.4, 40, 1]",
    "data.camera_view": "false",
    "data.intensity": "255",
}


@pytest.mark.parametrize("key", CONTRADICTIONS)
def test_what_contradicts_it_is_named(weights: Path, tmp_path: Path, key: str) -> None:
    text = f"{key}={CONTRADICTIONS[key]}"
    with pytest.raises(CheckpointError, match=f"x.safetensors: was trained with {key}=.*leave {key} out"):
        evaluated_config(weights, None, [text])
    (tmp_path / "c.yaml").write_text(dump_config(own()))
    with pytest.raises(CheckpointError, match=f"was trained with {key}="):
        evaluated_config(weights, tmp_path / "c.yaml", [text])


def test_another_detector_is_named(weights: Path) -> None:
    with pytest.raises((CheckpointError, ConfigError), match=r"model\."):
        evaluated_config(weights, None, ["model={name: second}"])


def test_what_the_detector_does_not_depend_on_is_free(weights: Path) -> None:
    free = ["data.root=/elsewhere", "data.val_split=test", "train.threads=1", "name=x", "data.augment.enabled=false"]
    config, chosen = evaluated_config(weights, None, free)
    assert (config.data.root, config.data.val_split, config.name) == (Path("/elsewhere"), "test", "x")
    assert chosen == []


def test_decoding_and_precision_may_be_chosen_and_are_told(weights: Path, tmp_path: Path) -> None:
    choice = ["model.nms.score=0.5", "train.precision=bf16-mixed"]
    config, chosen = evaluated_config(weights, None, [*choice, "train.threads=1"])
    assert (config.model.nms.score, config.train.precision) == (0.5, "bf16-mixed")
    assert chosen == choice
    other = own()
    other.model.nms.iou = 0.9
    (tmp_path / "c.yaml").write_text(dump_config(other))
    with pytest.raises(CheckpointError, match=r"model\.nms\.iou"):  # in a file it may be an oversight
        evaluated_config(weights, tmp_path / "c.yaml", [])


@pytest.mark.parametrize(
    "choice", [["data.beams=null"], ["data.beams.keep=16"], ["data.beams={sensor: vlp32c, keep: 8}"]], ids=str
)
@pytest.mark.parametrize("thinned", [True, False])
def test_beams_may_be_chosen_as_a_section_or_by_key(weights: Path, thinned: bool, choice: list[str]) -> None:
    config = own()
    config.data = type(config.data).model_validate({"beams": {"sensor": "hdl64e", "keep": 32} if thinned else None})
    save_weights(weights, build_detector(config).state_dict(), config, epoch=1)
    if choice == ["data.beams.keep=16"] and not thinned:
        choice = ["data.beams.sensor=hdl64e", *choice]
    evaluated, chosen = evaluated_config(weights, None, choice)
    assert chosen == choice
    expected = {"data.beams=null": None, "data.beams.keep=16": ("hdl64e", 16)}.get(choice[-1], ("vlp32c", 8))
    beams = evaluated.data.beams
    assert (None if beams is None else (beams.sensor, beams.keep)) == expected
    with pytest.raises(CheckpointError, match=r"model\.compression"):
        evaluated_config(weights, None, [*choice, "model.compression=4"])


def test_the_order_of_shared_anchors_counts(tmp_path: Path) -> None:
    anchor = AnchorConfig(size=(1, 1, 1), z=0, matched=0.6, unmatched=0.4)
    shapes = {"low": anchor, "high": anchor.model_copy(update={"z": 1.0})}
    config = own(anchors=shapes, head={"any_class": True})
    save_weights(tmp_path / "x.safetensors", build_detector(config).state_dict(), config, epoch=1)
    turned = own(anchors=dict(reversed(shapes.items())), head={"any_class": True})
    (tmp_path / "c.yaml").write_text(dump_config(turned))
    with pytest.raises(CheckpointError, match=r"model\.anchors\.low.* elsewhere"):
        evaluated_config(tmp_path / "x.safetensors", tmp_path / "c.yaml", [])
