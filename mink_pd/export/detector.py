"""An exported detector with the interface of the trained one: the same clouds give the same boxes."""

from pathlib import Path

import torch
from torch import Tensor

from mink_pd.config import Config, validate
from mink_pd.data.loading.batch import Batch
from mink_pd.errors import ConfigError, DataError
from mink_pd.export.card import CARD, Card, Runtime, read_card
from mink_pd.export.graph import OnnxSession, OpenVinoSession, Session
from mink_pd.export.heads import head_maps
from mink_pd.export.runner import Maps, Runner, canvas_grid, prediction_of, session_runner, two_graphs
from mink_pd.models import build_detector
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.checkpoint import load_weights
from mink_pd.models.detector import Detections, Detector, Prediction
from mink_pd.sparse import Voxels

ENCODER, NETWORK, WHOLE = "pillar_encoder", "backbone_neck_head", "detector"
WEIGHTS = "encoder.safetensors"  # weights of an encoder that stays sparse


class GraphDetector(Detector[Voxels, Prediction]):
    """The graphs of a detector in a runtime, between this package's own pre- and post-processing. It cannot be trained.

    inner: the detector that makes the voxels, decodes the boxes and, if no graph contains it, runs the encoder. slots,
    most: points per row and number of rows of the pillar graph.
    """

    def __init__(self, inner: BevDetector, runner: Runner, slots: int, most: int | None) -> None:
        super().__init__(inner.config)
        head = head_maps(inner)
        assert head is not None
        self.inner, self._head, self._runner, self._slots, self._most = inner, head, runner, slots, most
        self.eval()

    def shared_input(self, batch: Batch) -> Voxels:
        return self.inner.shared_input(batch)

    def tap_channels(self) -> dict[str, int]:
        return {}

    @torch.inference_mode()
    def forward(self, batch: Batch, shared: Voxels | None = None) -> Prediction:
        voxels = self.shared_input(batch) if shared is None else shared
        if len(voxels) == 0:
            return self.inner.nothing(len(batch), batch.points.device)
        name = ", ".join(frame.id for frame in batch.frames)
        columns = voxels if self.inner.encoder.dimensions == 2 else voxels.columns()
        return prediction_of(self._head, self.inner, self.maps(voxels, name), columns)

    def maps(self, voxels: Voxels, name: str) -> Maps:
        """The canvas and the head's maps for voxels. name: of the cloud, for errors."""
        return two_graphs(self.inner, self._runner, voxels, self._slots, self._most, name)

    def loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        raise ConfigError("an exported detector has no weights to train; train the run that it was exported from")

    def detect(self, prediction: Prediction) -> list[Detections]:
        return self.inner.detect(prediction)


class ExportedDetector(GraphDetector):
    """The graphs of an export folder."""

    def __init__(self, folder: Path, runtime: Runtime | None = None) -> None:
        """``runtime``: None: that for which the folder was exported.

        Raises DataError if the path is not an export folder, or if one of its files is missing or has changed.
        """
        card = read_card(folder)
        if card.target not in ("onnx", "openvino"):
            raise ConfigError(f"{folder}: is for {card.target}'s own program; export --to onnx to detect with it")
        inner = build_detector(exported_config(card, str(folder / CARD)))
        assert isinstance(inner, BevDetector)
        check_numbers(card, inner, folder / CARD)
        if (folder / WEIGHTS).is_file():
            load_weights(folder / WEIGHTS, inner, inner.config)
        runtime = runtime or ("openvino" if card.target == "openvino" else "onnxruntime")
        if card.target == "openvino" and runtime != "openvino":
            raise ConfigError(f"{folder}: holds OpenVINO's files, which {runtime} cannot run; leave --runtime out")
        sessions: dict[str, Session] = {
            name: load_session(folder / graph.file, runtime)
            for name, graph in card.graphs.items()
            if name in (ENCODER, NETWORK)
        }
        slots, most = (card.pillars.slots, card.pillars.most) if card.pillars else (1, None)
        super().__init__(inner, session_runner(runtime, sessions.get(ENCODER), sessions[NETWORK], most), slots, most)
        self.card, self.runtime = card, runtime


def check_numbers(card: Card, detector: BevDetector, path: Path) -> None:
    """Raise DataError if a number that other runtimes read differs from the configuration in the same card."""
    settings = detector.settings.model_dump(mode="json")
    own = {
        "range": detector.config.data.range,
        "voxel_size": detector.settings.voxel_size,
        "grid": canvas_grid(detector),
        "classes": detector.classes,
        "head": settings["head"],
        "nms": settings["nms"],
    }
    for key, value in own.items():
        if getattr(card, key) != value:
            raise DataError(f"{path}: {key} is not what config in the same file says; undo the change, or export again")


def load_session(path: Path, runtime: Runtime) -> Session:
    """Load a graph in a runtime."""
    return OpenVinoSession(path) if runtime == "openvino" else OnnxSession(path)


def exported_config(card: Card, path: str) -> Config:
    """The configuration of the detector that the card at ``path`` describes. Raises ConfigError."""
    return validate(card.config, {}, path, load_plugins=False)
