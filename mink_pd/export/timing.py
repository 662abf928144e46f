"""The time that a detector takes in each runtime on this machine, from points to boxes."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from mink_pd.data.loading.batch import Batch
from mink_pd.export.graph import OnnxSession, OpenVinoSession, Session, openvino_core, require, save_onnx
from mink_pd.export.heads import head_maps
from mink_pd.export.networks import Networks, Settings
from mink_pd.export.quantise import quantised_model
from mink_pd.export.runner import Runner, make_canvas, prediction_of, session_runner, torch_runner, two_graphs
from mink_pd.export.write import check_exportable
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.detector import Detector


def runtime_milliseconds(detector: Detector, batch: Batch, repeats: int = 5) -> dict[str, float]:
    """Median milliseconds from points to boxes for a batch of one frame, by runtime; the first is the detector itself.

    bf16 is included only if the processor has it. int8 has all layers in int8. Raises ConfigError for a detector that
    cannot be exported.
    """
    check_exportable(detector, Settings())
    assert isinstance(detector, BevDetector)
    networks = Networks(detector.eval(), Settings())
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        runners = _runners(networks, batch, Path(scratch))
        own = "sparse" if detector.settings.bev == "sparse" else "dense"
        calls: dict[str, Callable[[], object]] = {own: lambda: detector.detect(detector(batch))}
        calls |= {name: _call(networks, runner, batch) for name, runner in runners.items()}
        return {name: _milliseconds(call, repeats) for name, call in calls.items()}


def _runners(networks: Networks, batch: Batch, folder: Path) -> dict[str, Runner]:
    networks.write(folder, folder / "everything.onnx")
    first, second, int8 = (folder / f"{name}.onnx" for name in ("pillar_encoder", "backbone_neck_head", "int8"))
    own = torch_runner(networks.encoder, networks.network)
    canvas = make_canvas(networks.detector, own, networks.detector.shared_input(batch), networks.slots)
    save_onnx(int8, quantised_model(require("onnx").load(second), [canvas.numpy()]))
    bf16 = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def runner(load: Callable[..., Session], path: Path, *more: Any) -> Runner:
        encoder = load(first) if networks.encoder is not None else None
        return session_runner("", encoder, load(path, *more), networks.most)

    result = {
        "torch dense": own,
        "ONNX Runtime": runner(OnnxSession, second),
        "ONNX Runtime int8": runner(OnnxSession, int8),
        "OpenVINO": runner(OpenVinoSession, second),
        "OpenVINO bf16": runner(OpenVinoSession, second, "bf16") if bf16 else None,
        "OpenVINO int8": runner(OpenVinoSession, int8),
    }
    return {name: one for name, one in result.items() if one is not None}


def _call(networks: Networks, runner: Runner, batch: Batch) -> Callable[[], object]:
    detector, head = networks.detector, head_maps(networks.detector)
    assert head is not None

    def run() -> object:
        voxels = detector.shared_input(batch)
        maps = two_graphs(detector, runner, voxels, networks.slots)
        columns = voxels if detector.encoder.dimensions == 2 else voxels.columns()
        return detector.detect(prediction_of(head, detector, maps, columns))

    return run


def _milliseconds(call: Callable[[], object], repeats: int) -> float:
    call()  # buffers, caches and compiled code
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)
