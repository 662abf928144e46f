"""Every configuration that is shipped, and every setting of a model, runs in the engine or is refused in one line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_cases import RANGE, SMALL, cloud, tuned
from pydantic import ValidationError

from mink_pd.config import Config, load_config
from mink_pd.config.models import BevDetectorConfig
from mink_pd.config.section import Section
from mink_pd.data.loading.batch import collate
from mink_pd.detect.engine import Engine
from mink_pd.detect.engine_detector import with_engine
from mink_pd.detect.engine_file import engine_file
from mink_pd.detect.engine_support import why_not
from mink_pd.errors import ConfigError
from mink_pd.export.compare import compare_detections
from mink_pd.models import Detector, build_detector
from mink_pd.models.detectors.pointpillars import PointPillars
from mink_pd.registry import DETECTORS
from mink_pd.sparse import ConvBlock

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted([*ROOT.glob("configs/*.yaml"), *ROOT.glob("configs/published/*_[!h]*.yaml")])
VOXELS = {"voxel_size": [0.1, 0.1, 0.1], "encoder_channels": [4, 4, 8, 8, 8], "channels": [8, 12], "layers": [1, 1],
          "neck_channels": 8}  # fmt: skip
SHAPES = {
    name: {"size": [size, size / 3, 1.5], "z": -1.0, "matched": 0.6, "unmatched": 0.4}
    for name, size in (("Car", 4.5), ("Pedestrian", 0.9), ("Cyclist", 2.0))
}
# A value of every setting that differs from its default, and what goes with it.
VALUES: dict[str, Any] = {
    "compression": 2.0,
    "nms.score": 0.2, "nms.iou": 0.3, "nms.before": 30, "nms.after": 9, "nms.kind": "circle", "nms.radius": [1.5],
    "voxel_size": [0.25, 0.2, 1.0], "max_points": 3, "bev": "dense", "strides": [3], "channels": [12], "layers": [3],
    "neck": "fpn", "neck_channels": 12, "neck_stage": 2,
    "pillar_channels": 20, "pillar_layers": [8], "intensity": False, "centre_height": False, "empty_slots": True,
    "encoder_channels": [8, 8, 4, 8, 4], "residual": None,
    "head.places": "ends", "head.headings": [0.2, 1.1], "head.direction_offset": 0.2, "head.any_class": True,
    "head.scales": [1.4], "head.velocity": True, "head.channels": 12, "head.iou": True, "head.rectifier": 1.0,
    "anchors": SHAPES, "tasks": [["Cyclist"], ["Pedestrian", "Car"]],
}  # fmt: skip
WITH: dict[str, dict[str, Any]] = {"empty_slots": {"max_points": 4}, "head.rectifier": {"head.iou": True}}
REFUSED = {"bev", "strides"}
ONLY_TRAINING = ("loss.",)


def settings_of(section: type[Section], prefix: str = "") -> Iterator[str]:
    """The settings of a section and of the sections in it, as ``head.places``."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from settings_of(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


def detectors() -> dict[str, type[BevDetectorConfig]]:
    return {
        name: DETECTORS[name].Settings for name in DETECTORS if issubclass(DETECTORS[name].Settings, BevDetectorConfig)
    }


CHOICES = [
    (name, setting)
    for name, settings in detectors().items()
    for setting in settings_of(settings)
    if setting != "name" and not setting.startswith(ONLY_TRAINING)
]


def changed(name: str, setting: str) -> Config:
    """A small detector with another value of a setting."""
    model: dict[str, Any] = {"name": name} | (VOXELS if "encoder_channels" in detectors()[name].model_fields else SMALL)
    for key, value in {**WITH.get(setting, {}), setting: VALUES[setting]}.items():
        *sections, last = key.split(".")
        section = model
        for one in sections:
            section = section.setdefault(one, {})
        default = model.get(last)
        if key in ("strides", "channels", "layers"):  # of the last stage
            value = [*(default or detectors()[name].model_fields[key].default)[:-1], *value]
        section[last] = not detectors()[name].model_fields[key].default if key == "residual" else value
    data: dict[str, Any] = {"range": RANGE}
    if setting == "head.velocity":
        data |= {"kind": "nuscenes", "classes": ["Car", "Pedestrian", "Cyclist"]}
    return Config.model_validate({"data": data, "model": model})


def cars(count: int) -> dict[str, Any]:
    """So many equal shapes of anchors."""
    return {f"shape{number}": SHAPES["Car"] for number in range(count)}


def check_agrees(detector: Detector, least: int) -> None:
    """The engine finds what the detector finds in a cloud, `least` boxes or more."""
    frame = cloud(detector.config, seed=5)
    with torch.inference_mode():
        (expected,) = detector.detect(detector(collate([frame], detector.classes)))
    found = Engine(engine_file(detector), threads=2).detect(frame.points)
    agreement = compare_detections(found, expected, detector.config.model.nms)
    assert agreement.same, agreement
    assert agreement.pairs >= least


def check_refused(detector: Detector, key: str) -> None:
    """The engine refuses the detector in one line that names the key and says what to do, and users get torch."""
    with pytest.raises(ConfigError, match=rf"^{key}\b.*; .*(--to onnx|--no-engine|smaller|fewer)") as error:
        engine_file(detector)
    assert "\n" not in str(error.value)
    assert with_engine(detector) is detector


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations(path: Path) -> None:
    detector = tuned(load_config(path, ["model.compression=64"]))
    model = detector.config.model
    if model.name == "pointrcnn":
        check_refused(detector, "model.name")
        return
    if detector.config.model.bev == "dense":
        check_refused(detector, "model.bev")
        detector = tuned(load_config(path, ["model.compression=64", "model.bev=sparse"]))
    check_agrees(detector, least=0)


@pytest.mark.parametrize(("name", "setting"), CHOICES)
def test_every_setting_of_a_model(name: str, setting: str) -> None:
    try:
        config = changed(name, setting)
    except ValidationError:
        assert (setting == "neck") == name.startswith("centerpoint")  # no detector of this kind has such a value
        return
    detector = tuned(config)
    if setting in REFUSED:
        check_refused(detector, f"model.{setting}")
    else:
        check_agrees(detector, least=3)


@pytest.mark.parametrize(
    ("model", "most", "key"),
    [
        ({"strides": [2] * 6, "channels": [4] * 6, "layers": [0] * 6}, None, "model.strides"),
        ({"strides": [2] * 7, "channels": [4] * 7, "layers": [0] * 7}, "products", "model.strides"),
        ({"strides": [1] * 16, "channels": [4] * 16, "layers": [0] * 16}, None, "model.strides"),
        ({"strides": [1] * 17, "channels": [4] * 17, "layers": [0] * 17}, "17 stages", "model.strides"),
        ({"layers": [0, 0, 99]}, None, "model.layers"),
        ({"layers": [0, 0, 100]}, "101 layers", "model.layers"),
        ({"pillar_channels": 1024}, None, "model.pillar_channels"),
        ({"pillar_channels": 1026}, "1026 channels", "model.pillar_channels"),
        ({"pillar_layers": [2050]}, "1025 channels", "model.pillar_channels"),
        ({"pillar_layers": [2] * 100}, None, "model.pillar_layers"),
        ({"pillar_layers": [2] * 101}, "101 layers", "model.pillar_layers"),
        ({"nms": {"after": 2**20}}, None, "model.nms.after"),
        ({"nms": {"after": 2**20 + 1}}, "boxes", "model.nms.after"),
        ({"nms": {"before": 2**40}, "max_points": 2**40}, None, "model.nms.before"),
        ({"head": {"any_class": True}, "anchors": cars(500)}, None, "model.anchors"),
        ({"head": {"any_class": True}, "anchors": cars(501)}, "501 shapes", "model.anchors"),
    ],
)  # fmt: skip
def test_limits_are_those_of_the_engine(model: dict, most: str | None, key: str) -> None:
    """What lies within the limits is loaded; what lies beyond is refused before it is written."""
    detector = build_detector(Config.model_validate({"data": {"range": RANGE}, "model": SMALL | model})).eval()
    if most is None:
        Engine(engine_file(detector))
    else:
        check_refused(detector, key)
        assert most in str(why_not(detector))


class Shy(PointPillars):
    """A user's PointPillars with lower scores."""

    def predict(self, x: Any, voxels: Any) -> Any:
        prediction = super().predict(x, voxels)
        prediction.scores = prediction.scores - 1
        return prediction


class WideBlock(ConvBlock):
    """A user's layer."""


def test_what_a_user_derives_is_not_taken_for_what_it_is_derived_from() -> None:
    config = Config.model_validate({"data": {"range": RANGE}, "model": SMALL})
    check_refused(Shy(config).eval(), "model.name")
    detector = build_detector(config).eval()
    detector.bev.backbone[0][0] = WideBlock(12, 8, stride=2)
    check_refused(detector, "model.name")
