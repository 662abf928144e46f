"""Quantisation of the engine's network to 8 bits after training.

Results of layers become unsigned codes of 8 bits with one step for each layer, weights signed integers of 8 bits with
one scale for each output channel. The step of a result is the one with the least squared error on calibration clouds,
never one by entropy (``quantise.py`` says why).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate
from mink_pd.detect.engine_file import Tensors, engine_parts, pack
from mink_pd.errors import ConfigError
from mink_pd.export.engine_network import ENCODER, Array, Int8Layer, Layer, Network, rows_of
from mink_pd.export.quantise import PROBES, share_of_variance
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.detector import AnchorPrediction, Detections, Prediction
from mink_pd.models.detectors.centerpoint import CenterDetector
from mink_pd.models.heads.center_head import CODE

CODES, WEIGHTS = 255, 127  # largest code, largest integer of a weight
SAMPLES = 20_000  # numbers of a result and a cloud that its step is chosen with
_SHARES = np.linspace(0.3, 1, 71)  # of the largest number: where codes may end
_MOST_BIAS = 2**29


@dataclass(frozen=True)
class Input:
    """What the network reads of one cloud: features float32 (M, C) at sites int64 (M, 2)."""

    sites: Array
    features: Array


class Int8Network:
    """The network of a detector in 8 bits, and its files."""

    def __init__(self, detector: BevDetector, inputs: list[Input]) -> None:
        """inputs: of the calibration clouds, one at least. Raises ConfigError as ``engine_parts`` does."""
        self._parts = engine_parts(detector)
        if self._parts[1]["bev"]["fpn"]:
            raise ConfigError("--int8: the engine has no 8 bits for model.neck fpn; leave out --int8")
        self.network = Network({name: tensor.numpy() for name, tensor in self._parts[0].items()}, self._parts[1])
        self.names = [layer.name for layer in self.network.layers]
        self.steps = find_steps(self.network, inputs)
        self.layers = {layer.name: quantise_layer(self.network, layer, self.steps) for layer in self.network.layers}
        self._probes = inputs[:PROBES]
        self._wanted = [self.outputs(one, set(self.names)) for one in self._probes]

    def outputs(self, one: Input, float32: set[str]) -> dict[str, Array]:
        """The last layers' results (S, outputs) with the named layers in float32, the others in 8 bits."""
        values, _ = self.run(one, float32)
        return {name: values[name] for name in self.network.outputs}

    def run(self, one: Input, float32: set[str]) -> tuple[dict[str, Array], Array]:
        """As ``Network.run``."""
        int8 = {name: layer for name, layer in self.layers.items() if name not in float32}
        return self.network.run(one.sites, one.features, int8, self._written_steps(float32))

    def error(self, float32: set[str]) -> float:
        """Largest error of an output over its variance, on the first clouds."""
        found = [self.outputs(one, float32) for one in self._probes]
        return max(
            share_of_variance(*(np.concatenate([of[name].ravel() for of in each]) for each in (found, self._wanted)))
            for name in self.network.outputs
        )

    def detect(self, detector: BevDetector, frame: Frame, one: Input, float32: set[str]) -> Detections:
        """What the detector makes of these results for its cloud."""
        values, sites = self.run(one, float32)
        with torch.inference_mode():
            encoded, columns = detector.encoder.encode(detector.shared_input(collate([frame], detector.classes)))
            features = detector.bev(encoded, columns)
            level = features.levels[0]
            order = rows_of(sites, (level.coordinates[:, 1:3].long() // level.stride).numpy())
            outputs = {name: torch.from_numpy(values[name][order]) for name in self.network.outputs}
            (found,) = detector.detect(with_outputs(detector, detector.read(features, columns), outputs))
        return found

    def content(self, float32: set[str]) -> bytes:
        """The engine's file with the named layers in float32, the others in 8 bits."""
        tensors, description = self._parts
        changed: Tensors = dict(tensors)
        for name in set(self.names) - float32:
            layer = self.layers[name]
            changed[f"{name}.weight"] = torch.from_numpy(layer.weight).view(tensors[f"{name}.weight"].shape)
            changed[f"{name}.bias"] = torch.from_numpy(layer.bias)
            changed[f"{name}.scale"] = torch.from_numpy(layer.scale)
        for name, step in self._written_steps(float32).items():
            changed[f"{name}.step"] = torch.tensor([step])
        return pack(changed, description)

    def _written_steps(self, float32: set[str]) -> dict[str, float]:
        """Of the results that a layer in 8 bits reads."""
        read = {name for layer in self.network.layers if layer.name not in float32 for name in layer.reads}
        return {name: step for name, step in self.steps.items() if name in read}


def network_input(detector: BevDetector, frame: Frame) -> Input | None:
    """The encoder's output for a cloud; None if no point is in range."""
    with torch.inference_mode():
        voxels = detector.shared_input(collate([frame], detector.classes))
        if not len(voxels):
            return None
        encoded, _ = detector.encoder.encode(voxels)
    stride, groups = encoded.tensor_stride[0], detector.encoder.groups()
    features = encoded.F if groups is None else encoded.F[:, groups.argsort(stable=True)]
    return Input((encoded.C[:, 1:3].long() // stride).numpy(), features.numpy())


def with_outputs(detector: BevDetector, prediction: Prediction, outputs: dict[str, Tensor]) -> Prediction:
    """A detector's prediction with the outputs (S, ..) of the last layers in place of its own."""
    if isinstance(prediction, AnchorPrediction):
        places = {"scores": outputs["head.scores"]}
        kinds, others = prediction.boxes.shape[1], outputs["head.others"]
        parts = others.split([kinds * 7, kinds * 2, *[kinds * 2] * (prediction.velocities is not None)], dim=1)
        places |= dict(zip(("boxes", "directions", "velocities"), parts, strict=False))
    else:
        assert isinstance(detector, CenterDetector)
        tasks = range(len(detector.tasks))
        boxes = torch.stack([outputs[f"head.tasks.{task}.box"] for task in tasks], dim=1)  # (S, T, outputs)
        heat = torch.cat([outputs[f"head.tasks.{task}.heat"] for task in tasks], dim=1)
        places = {"scores": heat[:, detector.head.channel], "boxes": boxes[..., :CODE]}
        if detector.head.velocity:
            places["velocities"] = boxes[..., CODE : CODE + 2]
        if detector.head.iou:
            places["ious"] = boxes[..., -1]
    shaped: dict[str, Any] = {name: values.reshape(getattr(prediction, name).shape) for name, values in places.items()}
    return replace(prediction, **shaped)


def find_steps(network: Network, inputs: list[Input]) -> dict[str, float]:
    """The steps of the codes of all results that a layer reads."""
    read = {name for layer in network.layers for name in layer.reads}
    samples: dict[str, list[Array]] = {name: [] for name in read}
    largest = dict.fromkeys(read, 0.0)
    for one in inputs:
        values, _ = network.run(one.sites, one.features, {}, {})
        for name in read:
            flat = values[name].ravel()
            largest[name] = max(largest[name], float(flat.max()))
            flat = flat[flat > 0]
            samples[name].append(flat[:: max(1, len(flat) // SAMPLES)])
    return {
        name: best_step(np.concatenate(samples[name]), largest[name])
        for name in [ENCODER, *network.biases]
        if name in read
    }


def best_step(samples: Array, largest: float) -> float:
    """The step of codes with the least squared error of samples (N,), whose largest number may be larger yet."""
    if largest <= 0:
        return 1.0  # of a result that is always 0
    steps = (_SHARES * largest / CODES).astype(np.float32)
    tried = np.append(samples, np.float32(largest))
    errors = [np.square(np.clip(np.rint(tried / step), 0, CODES) * step - tried).sum() for step in steps]
    return float(steps[int(np.argmin(errors))])


def quantise_layer(network: Network, layer: Layer, steps: dict[str, float]) -> Int8Layer:
    """The integers of a layer. The steps of what it reads are part of its weights."""
    weight, bias = network.weights[layer.name], network.biases[layer.name].astype(np.float64)
    rows = np.concatenate([np.full(channels_of(network, name), steps[name]) for name in layer.reads])  # (in,)
    scaled = weight.astype(np.float64) * rows[:, None]  # (K, in, out)
    least = np.maximum(np.abs(bias) / _MOST_BIAS, 1e-30)
    scale = np.maximum(np.abs(scaled).max(axis=(0, 1)) / WEIGHTS, least).astype(np.float32)
    integers = np.clip(np.rint(scaled / scale), -WEIGHTS, WEIGHTS).astype(np.int8)
    return Int8Layer(integers, np.rint(bias / scale).astype(np.int32), scale)


def channels_of(network: Network, name: str) -> int:
    """Channels of a result, or of the input."""
    if name != ENCODER:
        return len(network.biases[name])
    return int(network.weights[network.layers[0].name].shape[1])
