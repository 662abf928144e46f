"""A trained detector that detects with the engine, for every user of detectors."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mink_pd.data.loading.batch import Batch
from mink_pd.detect.engine import Engine
from mink_pd.detect.engine_file import engine_file
from mink_pd.detect.engine_support import why_not
from mink_pd.errors import MinkPDError
from mink_pd.models import Detections, Detector
from mink_pd.models.detector import Prediction, Shared
from mink_pd.native.operators import operators


def with_engine(detector: Detector) -> Detector:
    """The detector with the engine in front of it where it is on the CPU and the engine can run it; else itself."""
    on_cpu = all(parameter.device.type == "cpu" for parameter in detector.parameters())
    if not on_cpu or why_not(detector) is not None or operators() is None:
        return detector
    return EngineDetector(detector)


@dataclass(kw_only=True)
class EnginePrediction(Prediction):
    """What the engine is to detect in. points: (P, columns); frame: int64 (P,); names: of the frames."""

    points: Tensor
    frame: Tensor
    names: list[str]


class EngineDetector(Detector[Shared, EnginePrediction]):
    """Detections of ``inner`` by the engine. It cannot be trained; when weights or settings of ``inner`` change, the
    engine takes the new ones."""

    def __init__(self, inner: Detector) -> None:
        super().__init__(inner.config)
        self.inner = inner
        self._engine: Engine | None = None
        self._made_of: object = None
        self.train(inner.training)
        inner.register_forward_pre_hook(self._forget)

    def _forget(self, inner: nn.Module, _: object) -> None:
        """In training neither batch norm nor a fused optimiser counts its writes as versions."""
        if inner.training:
            self._made_of = None

    def __getstate__(self) -> dict[str, Any]:
        """The state without the engine, which another process makes again."""
        return self.__dict__ | {"_engine": None, "_made_of": None}

    def shared_input(self, batch: Batch) -> Shared:
        return self.inner.shared_input(batch)

    def tap_channels(self) -> dict[str, int]:
        return {}

    def forward(self, batch: Batch, shared: Shared | None = None) -> EnginePrediction:
        names = [frame.id for frame in batch.frames]
        return EnginePrediction(frames=len(batch), points=batch.points, frame=batch.frame, names=names)

    def loss(self, prediction: EnginePrediction, batch: Batch) -> dict[str, Tensor]:
        raise MinkPDError("the engine has no gradients; load the detector with engine=False to train it")

    def detect(self, prediction: EnginePrediction) -> list[Detections]:
        engine, found = self._current(), []
        for number, name in enumerate(prediction.names):
            points = prediction.points[prediction.frame == number] if prediction.frames > 1 else prediction.points
            try:
                found.append(engine.detect(points.numpy()))
            except MinkPDError as error:
                raise MinkPDError(f"frame {name}: {error}") from None
        return found

    def _current(self) -> Engine:
        """The engine with the weights and settings that ``inner`` has now."""
        tensors = [*self.inner.parameters(), *self.inner.buffers()]
        made_of = [(id(tensor), tensor._version) for tensor in tensors], self.inner.config.model.nms.model_dump()
        if self._engine is None or made_of != self._made_of:
            self._engine = Engine(engine_file(self.inner, filtered=True), torch.get_num_threads())
            self._made_of = made_of
        return self._engine
