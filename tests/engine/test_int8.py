"""The engine in 8 bits: the integers that it computes, what is rounded, and the export that writes them."""

import argparse

import numpy as np
import pytest
import safetensors.numpy
import torch
from engine_cases import RANGE, SMALL, cloud, tuned

from mink_pd.commands import export
from mink_pd.config import Config
from mink_pd.data.loading.batch import collate
from mink_pd.detect.engine import Engine
from mink_pd.detect.engine_file import engine_parts, pack
from mink_pd.errors import ConfigError, DataError, ExportError, MinkPDError
from mink_pd.export import engine as engine_export
from mink_pd.export.compare import compare_detections
from mink_pd.export.engine_int8 import Int8Network, best_step, network_input, quantise_layer
from mink_pd.export.engine_network import rows_of
from mink_pd.models.bev_detector import BevDetector

CENTRES = {"name": "centerpoint_pillars", "head": {"channels": 18, "velocity": True, "iou": True, "rectifier": 0.5}}
CASES: dict[str, dict] = {
    "anchors": {},
    "wide": {"pillar_channels": 64, "channels": [64, 70, 130], "neck_channels": 64, "layers": [0, 0, 0]},
    "neck at the second stage": {"neck_stage": 2},
    "centres": CENTRES,
    "centres of two tasks": CENTRES | {"tasks": [["Pedestrian", "Cyclist"], ["Car"]]},
}


def network(case: str) -> tuple[BevDetector, Int8Network]:
    nuscenes = {"kind": "nuscenes", "classes": ["Car", "Pedestrian", "Cyclist"]} if "centres" in case else {}
    detector = tuned(Config.model_validate({"data": {"range": RANGE} | nuscenes, "model": SMALL | CASES[case]}))
    assert isinstance(detector, BevDetector)
    inputs = [network_input(detector, cloud(detector.config, seed)) for seed in (1, 2)]
    return detector, Int8Network(detector, [one for one in inputs if one is not None])


@pytest.mark.parametrize("case", CASES)
def test_the_engine_computes_the_integers_that_numpy_computes(case: str) -> None:
    detector, eight = network(case)
    frame = cloud(detector.config, seed=3)
    one = network_input(detector, frame)
    assert one is not None
    names, nms = eight.names, detector.config.model.nms
    for float32 in (set(), {names[0]}, {names[-1]}, set(names[1::2]), set(names[::2]), set(names[1:])):
        found = Engine(eight.content(float32)).detect(frame.points)
        agreement = compare_detections(found, eight.detect(detector, frame, one, float32), nms, slack=20)
        assert agreement.same, (float32, agreement)
        assert agreement.pairs > 5


@pytest.mark.parametrize("case", ["neck at the second stage", "centres"])
def test_the_network_in_float32_is_the_detector(case: str) -> None:
    detector, eight = network(case)
    frame = cloud(detector.config, seed=4)
    one = network_input(detector, frame)
    assert one is not None
    values, sites = eight.run(one, set(eight.names))
    with torch.inference_mode():
        encoded, columns = detector.encoder.encode(detector.shared_input(collate([frame], detector.classes)))
        level = detector.bev(encoded, columns).levels[0]
        (expected,) = detector.detect(detector(collate([frame], detector.classes)))
    order = rows_of(sites, (level.coordinates[:, 1:3].long() // level.stride).numpy())
    neck = np.concatenate([values[f"neck.{stage}"] for stage in range(3)], axis=1)
    assert np.allclose(neck[order], level.cells.numpy(), atol=1e-4)
    found = eight.detect(detector, frame, one, set(eight.names))
    assert compare_detections(found, expected, detector.config.model.nms).same


def test_steps_lose_least() -> None:
    """Few large numbers are cut off where that spares many small ones; nothing is cut off of a flat distribution."""
    random = np.random.default_rng(0)
    flat = random.uniform(0, 2, 5000).astype(np.float32)
    assert best_step(flat, 2.0) == pytest.approx(2 / 255)
    peaked = random.exponential(0.1, 5000).astype(np.float32)
    largest = float(peaked.max()) * 1.5
    tried = np.append(peaked, largest)

    def lost(step: float) -> float:
        return float(np.square(np.minimum(np.round(tried / step), 255) * step - tried).sum())

    assert (
        lost(best_step(peaked, largest))
        <= min(lost(share * largest / 255) for share in np.linspace(0.1, 1.2, 111)) * 1.05
    )
    assert best_step(np.zeros(0, np.float32), 0.0) == 1.0


def test_eight_bits_lose_less_than_four_would() -> None:
    """The error of the outputs falls with the square of the step: a check that nothing else is lost on the way."""
    _, eight = network("anchors")
    fine = eight.error(set())
    eight.steps = {name: 16 * step for name, step in eight.steps.items()}
    eight.layers = {layer.name: quantise_layer(eight.network, layer, eight.steps) for layer in eight.network.layers}
    assert 0 < fine < 5e-3
    assert 30 * fine < eight.error(set())


def test_the_export_in_8_bits(options: argparse.Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    options.int8 = True
    export.main(options)
    printed = capsys.readouterr().out
    assert "then quantised" in printed
    assert "as written" in printed
    content = options.out.read_bytes()
    tensors = safetensors.numpy.load(content[32:])
    eight = {name.removesuffix(".scale") for name in tensors if name.endswith(".scale")}
    assert len(eight) > 5
    assert {name for name, tensor in tensors.items() if tensor.dtype == np.int8} == {f"{name}.weight" for name in eight}
    assert len(Engine(content).detect(np.fromfile(options.frames[0], np.float32).reshape(-1, 4)).boxes) > 5


def test_ap_is_measured_of_the_files(
    options: argparse.Namespace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The AP, here the number of boxes, in float32, in 8 bits and with each layer in float32."""
    frame = cloud(Config(), seed=1)

    def scoring(config: Config, *_: object) -> object:
        def score(name: str, detector: BevDetector) -> dict[str, float]:
            batch = collate([frame], config.data.classes)
            return {"boxes": float(len(detector.detect(detector(batch))[0].boxes))}

        return score

    monkeypatch.setattr(export, "scoring", scoring)
    options.int8, options.split = True, "val"
    export.main(options)
    printed = capsys.readouterr().out
    assert "AP in float32" in printed
    assert "head.scores" in printed


def test_a_wrong_engine_writes_nothing(
    options: argparse.Namespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = Int8Network.content

    def wrong(self: Int8Network, float32: set[str]) -> bytes:
        self.layers["stages.1.0"].scale[:] *= 1.5
        content = right(self, float32)
        self.layers["stages.1.0"].scale[:] /= 1.5
        return content

    monkeypatch.setattr(Int8Network, "content", wrong)
    options.int8 = True
    with pytest.raises(ExportError, match="computes other integers than it should"):
        export.main(options)
    monkeypatch.setattr(Int8Network, "content", right)
    monkeypatch.setattr(engine_export, "RUINED", 0.0)
    with pytest.raises(ExportError, match="int8 changes the outputs"):
        export.main(options)
    assert not options.out.exists()


def test_a_feature_pyramid_is_refused_in_8_bits() -> None:
    detector = tuned(Config.model_validate({"data": {"range": RANGE}, "model": SMALL | {"neck": "fpn"}}))
    assert isinstance(detector, BevDetector)
    with pytest.raises(ConfigError, match=r"--int8: .*model\.neck fpn"):
        Int8Network(detector, [])


def test_split_needs_int8(options: argparse.Namespace) -> None:
    options.split = "val"
    with pytest.raises(ConfigError, match="add --int8"):
        export.main(options)


def test_odd_files_and_clouds() -> None:
    detector, eight = network("anchors")
    tensors, description = engine_parts(detector)
    layer = eight.layers["stages.1.0"]
    changed = tensors | {
        "stages.1.0.weight": torch.from_numpy(layer.weight),
        "stages.1.0.bias": torch.from_numpy(layer.bias),
        "stages.1.0.scale": torch.from_numpy(layer.scale),
    }
    step = {"stages.0.1.step": torch.tensor([eight.steps["stages.0.1"]])}
    Engine(pack(changed | step, description))
    for odd, message in (
        ({}, "reads a result without codes"),
        ({"stages.0.1.step": torch.tensor([-1.0])}, "no positive number"),
        (step | {"stages.1.0.scale": torch.from_numpy(layer.scale) * np.inf}, "numbers are too large"),
        (step | {"stages.1.0.bias": torch.from_numpy(layer.bias).float()}, "of an odd type"),
        (step | {"head.scores.step": torch.tensor([1.0])}, "has no ReLU"),
    ):
        with pytest.raises(DataError, match=message):
            Engine(pack(changed | odd, description))
    broken = Engine(pack(changed | step | {"encoder.weight": tensors["encoder.weight"] * 1e38}, description))
    with pytest.raises(MinkPDError, match="NaN or infinity"):
        broken.detect(cloud(detector.config).points)
