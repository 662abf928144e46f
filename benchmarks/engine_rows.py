"""The engine, from points to boxes, compared with the torch operators, OpenVINO, larger networks and one thread."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.detectors import detect, ready
from benchmarks.distillation import student_config
from benchmarks.harness import Pair, Side
from benchmarks.inputs import Inputs
from benchmarks.row import Row, peer_module
from benchmarks.thread_counts import CORES, OURS
from mink_pd.data.loading.batch import Batch
from mink_pd.detect.engine import Engine
from mink_pd.detect.engine_file import engine_file
from mink_pd.export.compare import compare_detections
from mink_pd.models import Detections, Detector


def _detector(inputs: Inputs, compression: float) -> Detector:
    return ready(student_config(inputs.config, compression), inputs.batch(), inputs.sizes.candidates)


def _engine(inputs: Inputs, detector: Detector, threads: int = CORES) -> Callable[[], Detections]:
    return partial(Engine(engine_file(detector), threads).detect, inputs.frame().points)


def _same(ours: Callable[[], Detections], theirs: Callable[[], list[Detections]], detector: Detector) -> None:
    """Raise AssertionError unless both sides find the same objects, within the tolerances of exports."""
    agreement = compare_detections(ours(), theirs()[0], detector.config.model.nms)
    assert agreement.same, agreement
    assert agreement.pairs, "nothing found: decoding and NMS would cost nothing"


def against_torch(inputs: Inputs, compression: float) -> Pair:
    detector = _detector(inputs, compression)
    ours, theirs = _engine(inputs, detector), partial(detect, detector, inputs.batch())
    return Pair(Side(ours, OURS), Side(theirs, OURS), partial(_same, ours, theirs, detector))


def against_full(inputs: Inputs, compression: float) -> Pair:
    """A student and the full network, both in the engine."""
    student, full = (_engine(inputs, _detector(inputs, one)) for one in (compression, 1))
    return Pair(Side(student, OURS), Side(full, OURS))


def against_one_thread(inputs: Inputs, compression: float) -> Pair:
    detector = _detector(inputs, compression)
    all_, one = (_engine(inputs, detector, threads) for threads in (CORES, 1))

    def check() -> None:
        assert torch.equal(all_().boxes, one().boxes)

    return Pair(Side(all_, OURS), Side(one, OURS), check)


def against_openvino(inputs: Inputs, compression: float) -> Pair:
    """The peer runs the two networks dense and in float32, between this package's own voxels, decoding and NMS."""
    detector, batch = _detector(inputs, compression), inputs.batch()
    ours = _engine(inputs, detector)
    if peer_module("openvino") is None:
        return Pair(Side(ours, OURS), None, notes=["pip install 'mink_pd[export]' installs OpenVINO"])
    theirs = _openvino(detector, batch)
    return Pair(Side(ours, OURS), Side(theirs, OURS), partial(_same, ours, theirs, detector))


def _openvino(detector: Detector, batch: Batch) -> Callable[[], list[Detections]]:
    from mink_pd.export.detector import ENCODER, NETWORK  # an optional dependency
    from mink_pd.export.graph import OpenVinoSession
    from mink_pd.export.networks import OpenVinoNetworks, Settings
    from mink_pd.export.runner import prediction_of, session_runner, two_graphs
    from mink_pd.models.bev_detector import BevDetector

    assert isinstance(detector, BevDetector)
    networks = OpenVinoNetworks(detector, Settings("openvino"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        networks.write(folder, folder / "everything.onnx")
        networks.finish(folder)
        encoder, network = (OpenVinoSession(folder / f"{one}.xml") for one in (ENCODER, NETWORK))
    runner = session_runner("OpenVINO", encoder, network, None)

    def work() -> list[Detections]:
        with torch.inference_mode():
            voxels = detector.shared_input(batch)
            maps = two_graphs(detector, runner, voxels, networks.slots, None, "frame")
            return detector.detect(prediction_of(networks.network.head, detector, maps, voxels))

    return work


ROWS = [
    Row("engine-full", "PointPillars in the engine, points to boxes", "the torch operators", None,
        partial(against_torch, compression=1)),
    Row("engine-student", "4x student in the engine, points to boxes", "the torch operators", None,
        partial(against_torch, compression=4)),
    Row("engine-student-16", "16x student in the engine, points to boxes", "the torch operators", None,
        partial(against_torch, compression=16)),
    Row("engine-openvino", "PointPillars in the engine, points to boxes", "OpenVINO float32, dense", 12.0,
        partial(against_openvino, compression=1)),
    Row("engine-openvino-student", "4x student in the engine, points to boxes", "OpenVINO float32, dense", None,
        partial(against_openvino, compression=4)),
    Row("engine-4x", "4x student in the engine", "full network in the engine", 3.5,
        partial(against_full, compression=4)),
    Row("engine-16x", "16x student in the engine", "full network in the engine", 8.0,
        partial(against_full, compression=16)),
    Row("engine-threads", "4x student in the engine, all cores", "one thread", 1.6,
        partial(against_one_thread, compression=4)),
]  # fmt: skip
