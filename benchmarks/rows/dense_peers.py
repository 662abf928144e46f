"""A detector's dense form in OpenVINO and ONNX Runtime, with this package's own voxels, decoding and NMS around it."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from benchmarks.inputs import Inputs
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.models import Detections
from mink_pd.models.bev_detector import BevDetector

Peer = Literal["OpenVINO", "OpenVINO int8", "ONNX Runtime"]
PACKAGES = {"OpenVINO": "openvino", "OpenVINO int8": "nncf", "ONNX Runtime": "onnxruntime"}
CALIBRATION = 4  # frames that int8's ranges come from


def dense_peer(peer: Peer, detector: BevDetector, inputs: Inputs) -> Callable[[], list[Detections]]:
    """Points to boxes of the first frame. The networks take all of torch's threads."""
    from mink_pd.export.detector import ENCODER, NETWORK  # optional dependencies
    from mink_pd.export.graph import OnnxSession, OpenVinoSession, require, save_onnx
    from mink_pd.export.networks import Networks, Settings
    from mink_pd.export.quantise import quantised_model
    from mink_pd.export.runner import Runner, make_canvas, prediction_of, session_runner, two_graphs

    networks = Networks(detector, Settings())
    session = OnnxSession if peer == "ONNX Runtime" else OpenVinoSession

    def canvas(runner: Runner, index: int) -> torch.Tensor:
        with torch.inference_mode():
            voxels = detector.shared_input(_batch(inputs, index))
            return make_canvas(detector, runner, voxels, networks.slots)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks.write(folder, folder / "everything.onnx")
        encoder, network = (folder / f"{one}.onnx" for one in (ENCODER, NETWORK))
        first = session(encoder)
        if peer == "OpenVINO int8":
            runner = session_runner(peer, first, session(network), None)
            canvases = [canvas(runner, index).numpy() for index in range(CALIBRATION)]
            save_onnx(network, quantised_model(require("onnx").load(network), canvases))
        runner = session_runner(peer, first, session(network), None)
    batch = inputs.batch()

    def work() -> list[Detections]:
        with torch.inference_mode():
            voxels = detector.shared_input(batch)
            maps = two_graphs(detector, runner, voxels, networks.slots, None, "frame")
            return detector.detect(prediction_of(networks.network.head, detector, maps, voxels))

    return work


def _batch(inputs: Inputs, index: int) -> Batch:
    return collate([inputs.frame(index)], inputs.config.data.classes)
