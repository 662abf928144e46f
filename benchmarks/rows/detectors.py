"""Whole detectors, from points to boxes: sparse and dense, large and small, and from a file on disk."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness import Pair, Side
from benchmarks.inputs import Inputs
from benchmarks.rows.distillation import student_config
from benchmarks.rows.row import Row
from benchmarks.thread_counts import OURS
from mink_pd.config import Config
from mink_pd.config.pointrcnn import PointRCNNConfig
from mink_pd.data.loading.batch import Batch
from mink_pd.detect.predict import detect_frame
from mink_pd.models import Detections, Detector, build_detector
from mink_pd.models.detectors.pointpillars import PointPillars

POINTRCNN = 250.0  # target of a detection by PointRCNN [ms]
RATE = 10.0  # frames/s that a student is to keep up with: one turn of the sensor


def detect(detector: Detector, batch: Batch) -> list[Detections]:
    """Points to boxes after NMS."""
    with torch.inference_mode():
        return detector.detect(detector(batch))


def settled(network: nn.Module, batch: Batch) -> nn.Module:
    """Set the running statistics of all batch norms to those of the batch, as training would. Returns the detector in
    eval mode."""
    norms: list[Any] = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()


def shift_scores(bias: Tensor, logits: Tensor, lowest: float, wanted: int) -> None:
    """Move the scores' bias so that the best ``wanted`` anchors of each class pass ``lowest``.

    Without this an untrained head finds nothing, and decoding and NMS cost nothing. bias: (A * classes,); logits:
    (S, A, classes).
    """
    anchors, classes = logits.shape[1:]
    flat = logits.reshape(-1, classes)  # (S * A, classes)
    edge = flat.topk(min(wanted, len(flat)), dim=0).values[-1]  # (classes,)
    bias.data += (torch.logit(torch.tensor(lowest)) - edge + 1e-4).repeat(anchors)


def ready(config: Config, batch: Batch, candidates: int) -> PointPillars:
    """A detector with random weights that costs as much as a trained one."""
    torch.manual_seed(0)
    detector: Any = settled(build_detector(config), batch)
    with torch.no_grad():
        shift_scores(detector.head.score.bias, detector(batch).scores, config.model.nms.score, candidates)
    return detector


def _against_dense(inputs: Inputs, compression: float) -> Pair:
    batch, candidates = inputs.batch(), inputs.sizes.candidates
    config = student_config(inputs.config, compression)
    dense_config = config.model_copy(update={"model": config.model.model_copy(update={"bev": "dense"})})
    sparse, dense = (partial(detect, ready(form, batch, candidates), batch) for form in (config, dense_config))

    def check() -> None:
        for side in (sparse(), dense()):
            assert len(side) == 1, "one frame gives one entry"
            assert len(side[0].boxes), "nothing found: decoding and NMS would cost nothing"

    points = len(batch.points)
    notes = [f"{points} points, {candidates} candidates a class; dense: model.bev=dense, batch norm folded"]
    return Pair(Side(sparse, OURS), Side(dense, OURS), check, notes=notes)


def pointpillars_detect(inputs: Inputs) -> Pair:
    return _against_dense(inputs, compression=1)


def student_detect(inputs: Inputs) -> Pair:
    return _against_dense(inputs, compression=4)


def student_rate(inputs: Inputs) -> Pair:
    """Full KITTI files: read, cut to the camera's view, detect."""
    frame = inputs.frame()
    config = student_config(inputs.config)
    detector = ready(config, inputs.batch(), inputs.sizes.candidates)
    files = inputs.full_scan()

    def work() -> object:
        return detect_frame(detector, files[0], config)

    note = f"file of {inputs.sizes.sweep} points, {len(frame.points)} or so in view: read, cut, detected"
    return Pair(Side(work, OURS), 1e3 / RATE, notes=[note])


def pointrcnn_detect(inputs: Inputs) -> Pair:
    """Random weights: the number of regions of interest is fixed, so that they cost as much as trained ones."""
    batch = inputs.batch()
    torch.manual_seed(0)
    detector = build_detector(inputs.config.model_copy(update={"model": PointRCNNConfig()})).eval()
    notes = [f"{len(batch.points)} points"]
    return Pair(Side(partial(detect, detector, batch), OURS), POINTRCNN, notes=notes)


ROWS = [
    Row("pointpillars-detect", "PointPillars, full size, points to boxes", "the same with a dense backbone in torch",
        6.0, pointpillars_detect),
    Row("student-detect", "4x student, points to boxes", "4x dense student", 4.0, student_detect),
    Row("student-rate", "4x student on a full KITTI file", f"{RATE:.0f} frames/s", 1.0, student_rate),
    Row("pointrcnn-detect", "PointRCNN, full size, points to boxes", f"{POINTRCNN:.0f} ms", 1.0, pointrcnn_detect),
]  # fmt: skip
