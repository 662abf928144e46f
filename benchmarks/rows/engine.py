"""The engine, from points to boxes, compared with the torch operators, OpenVINO, ONNX Runtime and larger networks."""

from collections.abc import Callable
from functools import partial

import torch

from benchmarks.harness import Pair, Side
from benchmarks.inputs import Inputs
from benchmarks.machine import SIZE
from benchmarks.rows.busy import BusyProcess
from benchmarks.rows.dense_peers import PACKAGES, Peer, dense_peer
from benchmarks.rows.detectors import detect, ready
from benchmarks.rows.distillation import student_config
from benchmarks.rows.row import Row, peer_module
from benchmarks.thread_counts import CORES, OURS, Threads
from mink_pd.detect.engine import Engine
from mink_pd.detect.engine_file import engine_file
from mink_pd.export.compare import compare_detections
from mink_pd.export.engine import INT8_SLACK
from mink_pd.export.engine_int8 import Int8Network, network_input
from mink_pd.models import Detections
from mink_pd.models.cost import count_multiply_adds
from mink_pd.models.detectors.pointpillars import PointPillars

ALL = Threads(openmp=CORES, openblas=CORES)
TOGETHER = 30  # detections in a run of the engine; beside a busy process they last several of its time slices
SLOW = 3  # detections in a run of a peer that takes tenths of a second


def _detector(inputs: Inputs, compression: float) -> PointPillars:
    return ready(student_config(inputs.config, compression), inputs.batch(), inputs.sizes.candidates)


def _engine(inputs: Inputs, detector: PointPillars, threads: int = CORES) -> Callable[[], Detections]:
    return partial(Engine(engine_file(detector), threads).detect, inputs.frame().points)


def _run(engine: Callable[[], Detections]) -> Side:
    """Detections one after the other, as on a robot that does little else."""
    return Side(engine, OURS, calls=TOGETHER)


def _same(ours: Callable[[], Detections], theirs: Callable[[], list[Detections]], detector: PointPillars) -> None:
    """Raise AssertionError unless both sides find the same objects, within the tolerances of exports."""
    agreement = compare_detections(ours(), theirs()[0], detector.config.model.nms)
    assert agreement.same, agreement
    assert agreement.pairs, "nothing found: decoding and NMS would cost nothing"


def against_torch(inputs: Inputs, compression: float) -> Pair:
    detector = _detector(inputs, compression)
    ours, theirs = _engine(inputs, detector), partial(detect, detector, inputs.batch())
    return Pair(_run(ours), Side(theirs, OURS, calls=SLOW), partial(_same, ours, theirs, detector))


def against_full(inputs: Inputs, compression: float) -> Pair:
    """A student and the full network, both in the engine."""
    student, full = (_engine(inputs, _detector(inputs, one)) for one in (compression, 1))
    return Pair(_run(student), _run(full))


def against_products(inputs: Inputs) -> Pair:
    """The full network's detection, and a product of matrices by torch with as many multiply-adds, on all cores."""
    detector = _detector(inputs, 1)
    count = count_multiply_adds(detector, inputs.batch())
    a, b = torch.rand(max(1, round(count / SIZE**2)), SIZE), torch.rand(SIZE, SIZE)
    notes = [f"{count / 1e9:.3f} G multiply-adds; the ratio is the share of the arithmetic limit"]
    return Pair(_run(_engine(inputs, detector)), Side(partial(torch.mm, a, b), ALL, calls=TOGETHER), notes=notes)


def against_one_thread(inputs: Inputs, compression: float) -> Pair:
    detector = _detector(inputs, compression)
    all_, one = (_engine(inputs, detector, threads) for threads in (CORES, 1))

    def check() -> None:
        assert torch.equal(all_().boxes, one().boxes)

    return Pair(_run(all_), _run(one), check)


def after_other_work(inputs: Inputs, compression: float) -> Pair:
    """A single detection after a collection of garbage, which leaves cold caches and a sleeping thread, against
    detections one after the other."""
    engine = _engine(inputs, _detector(inputs, compression))
    return Pair(Side(engine, OURS), _run(engine))


def against_float32(inputs: Inputs, compression: float) -> Pair:
    """The engine in 8 bits, all layers, and in float32."""
    detector, frame = _detector(inputs, compression), inputs.frame()
    one = network_input(detector, frame)
    assert one is not None
    network = Int8Network(detector, [one])
    ours = partial(Engine(network.content(set()), CORES).detect, frame.points)

    def check() -> None:
        """The engine finds what plain NumPy finds with the same integers."""
        expected = network.detect(detector, frame, one, set())
        assert compare_detections(ours(), expected, detector.config.model.nms, INT8_SLACK).same

    return Pair(_run(ours), _run(_engine(inputs, detector)), check)


def against_dense(inputs: Inputs, compression: float, peer: Peer) -> Pair:
    """The peer runs the dense network of the same weights; in int8 its boxes are other ones."""
    detector = _detector(inputs, compression)
    ours = _engine(inputs, detector)
    if peer_module(PACKAGES[peer]) is None:
        return Pair(_run(ours), None, notes=[f"pip install 'mink_pd[export]' installs {PACKAGES[peer]}"])
    theirs = dense_peer(peer, detector, inputs)

    def check() -> None:
        if peer != "OpenVINO int8":
            _same(ours, theirs, detector)
        assert len(theirs()[0].boxes), "nothing found: decoding and NMS would cost nothing"

    return Pair(_run(ours), Side(theirs, OURS, calls=SLOW), check)


def beside_busy_process(inputs: Inputs, compression: float) -> Pair:
    """Detections while another process uses as much of a core as it gets, against the same ones without it."""
    engine, busy = _engine(inputs, _detector(inputs, compression)), BusyProcess()

    def alone() -> None:
        for _ in range(TOGETHER):
            engine()

    def beside() -> None:
        with busy:
            alone()

    notes = [f"the times of {TOGETHER} detections; a target of 0.62 allows 1.6 times the time"]
    return Pair(Side(beside, OURS), Side(alone, OURS), notes=notes)


ROWS = [
    Row("engine-full", "PointPillars in the engine, points to boxes", "the torch operators", None,
        partial(against_torch, compression=1)),
    Row("engine-student", "4x student in the engine, points to boxes", "the torch operators", None,
        partial(against_torch, compression=4)),
    Row("engine-student-16", "16x student in the engine, points to boxes", "the torch operators", None,
        partial(against_torch, compression=16)),
    Row("engine-openvino", "PointPillars in the engine, points to boxes", "OpenVINO float32, dense", 12.0,
        partial(against_dense, compression=1, peer="OpenVINO")),
    Row("engine-openvino-int8", "PointPillars in the engine, points to boxes", "OpenVINO int8 (NNCF), dense", 6.0,
        partial(against_dense, compression=1, peer="OpenVINO int8")),
    Row("engine-onnxruntime", "PointPillars in the engine, points to boxes", "ONNX Runtime float32, dense", None,
        partial(against_dense, compression=1, peer="ONNX Runtime")),
    Row("engine-openvino-student", "4x student in the engine, points to boxes", "OpenVINO float32, dense", None,
        partial(against_dense, compression=4, peer="OpenVINO")),
    Row("engine-openvino-int8-student", "4x student in the engine, points to boxes", "OpenVINO int8 (NNCF), dense",
        6.0, partial(against_dense, compression=4, peer="OpenVINO int8")),
    Row("engine-onnxruntime-student", "4x student in the engine, points to boxes", "ONNX Runtime float32, dense", None,
        partial(against_dense, compression=4, peer="ONNX Runtime")),
    Row("engine-4x", "4x student in the engine", "full network in the engine", 3.5,
        partial(against_full, compression=4)),
    Row("engine-16x", "16x student in the engine", "full network in the engine", 8.0,
        partial(against_full, compression=16)),
    Row("engine-share", "PointPillars in the engine, points to boxes", "sgemm with as many multiply-adds", 0.65,
        against_products),
    Row("engine-int8", "PointPillars in the engine in 8 bits", "the engine in float32", 1.8,
        partial(against_float32, compression=1)),
    Row("engine-int8-student", "4x student in the engine in 8 bits", "the engine in float32", 1.8,
        partial(against_float32, compression=4)),
    Row("engine-int8-student-16", "16x student in the engine in 8 bits", "the engine in float32", 1.8,
        partial(against_float32, compression=16)),
    Row("engine-threads", "4x student in the engine, all cores", "one thread", 1.6,
        partial(against_one_thread, compression=4)),
    Row("engine-cold-student", "4x student in the engine, one cloud after other work", "one cloud after the other",
        None, partial(after_other_work, compression=4)),
    Row("engine-cold-student-16", "16x student in the engine, one cloud after other work", "one cloud after the other",
        None, partial(after_other_work, compression=16)),
    Row("engine-busy", "4x student in the engine, beside a busy process", "without it", round(1 / 1.6, 2),
        partial(beside_busy_process, compression=4)),
]  # fmt: skip
