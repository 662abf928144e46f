"""Which detectors the engine can run, and what to do about the others."""

import math
from typing import Any

from mink_pd.config.models import AnchorDetectorConfig, BevDetectorConfig
from mink_pd.errors import ConfigError
from mink_pd.models import Detector
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.detectors.centerpoint import CenterDetector
from mink_pd.models.layers.pillars import PillarFeatureNet

# The limits of native/csrc/engine.
STRIDES = (1, 2)  # of a stage
COARSEST = 64  # product of the strides
MOST_LAYERS = 100  # of a stage, and of a pillar net
MOST_STAGES = 16
MOST_CHANNELS = 1024  # of a pillar net
MOST_SHAPES = 500  # of anchors
MOST_BOXES = 2**20  # that a cloud can have

_TORCH = "detect with torch, mink-pd detect --no-engine"
_DENSE = "export it --to onnx"


def check_supported(detector: Detector) -> None:
    """Raise ConfigError, in one line that names the setting and says what to do, unless the engine can run the
    detector."""
    refused = why_not(detector)
    if refused:
        raise ConfigError(refused)


def why_not(detector: Detector) -> str | None:
    """The setting for which the engine cannot run a detector, and what to do; None if it can.

    A detector, or a part of one, that a plugin defines is refused even if its class is derived from one of the
    package's: it may compute anything else.
    """
    model = detector.config.model
    foreign = [
        type(one) for one in detector.modules() if type(one).__module__.split(".")[0] not in ("mink_pd", "torch")
    ]
    if foreign:
        return f"model.name {model.name}: the engine does not know {foreign[0].__name__}; {_TORCH}"
    if not isinstance(detector, AnchorDetector | CenterDetector):
        return f"model.name {model.name}: the engine runs PointPillars, SECOND and CenterPoint only; {_TORCH}"
    assert isinstance(model, BevDetectorConfig)
    return _wrong_backbone(model) or _too_large(detector.encoder, model)


def _wrong_backbone(model: BevDetectorConfig) -> str | None:
    if model.bev != "sparse":
        return f"model.bev {model.bev}: the engine runs sparse networks only; {_DENSE}"
    if any(stride not in STRIDES for stride in model.strides):
        return f"model.strides {model.strides}: the engine runs stages of stride 1 and 2 only; {_DENSE}"
    if math.prod(model.strides) > COARSEST:
        return f"model.strides {model.strides}: the engine runs products of strides up to {COARSEST}; {_DENSE}"
    return None


def _too_large(encoder: object, model: BevDetectorConfig) -> str | None:
    """Numbers beyond the engine's limits, which exist to find damaged files."""
    sizes = {
        "model.strides": ("stages", len(model.strides), MOST_STAGES),
        "model.layers": ("layers of a stage", max(model.layers) + 1, MOST_LAYERS),
        "model.nms.after": ("boxes", model.nms.after, MOST_BOXES),
    }
    if isinstance(encoder, PillarFeatureNet):
        layers: list[Any] = [*encoder.hidden, encoder]
        widest = max(layer.linear.out_features for layer in layers)
        sizes["model.pillar_channels or pillar_layers"] = ("channels", widest, MOST_CHANNELS)
        sizes["model.pillar_layers"] = ("layers", len(encoder.hidden), MOST_LAYERS)
    if isinstance(model, AnchorDetectorConfig) and model.head.any_class:
        sizes["model.anchors"] = ("shapes", len(model.anchors), MOST_SHAPES)
    for key, (what, number, most) in sizes.items():
        if number > most:
            return f"{key}: {number} {what}, the engine runs up to {most}; use fewer, or {_TORCH}"
    return None
