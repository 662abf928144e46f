"""Boxes that may or may not be objects: neither loss nor gradient where they lie, and nothing changes elsewhere."""

import numpy as np
import pytest
import torch
from models.frames import batch, centerpoint, pointpillars, second
from shapely.geometry import box as rectangle
from torch import Tensor

from mink_pd.config import Config
from mink_pd.data.loading.batch import Batch
from mink_pd.models import Detector, Prediction, build_detector
from mink_pd.models.heads.center_loss import gaussian_focal_loss
from mink_pd.models.heads.center_targets import center_targets
from mink_pd.models.heads.losses import focal_loss

DOUBTFUL = torch.tensor([[4.6, 1.9, -1.0, 0.9, 0.7, 1.7, 0.1], [1.3, -1.5, -1.0, 3.7, 1.5, 1.5, 0.3]])
CLASSES = [1, 0]  # a pedestrian, and a car near the labelled one


def with_doubt(ignored: Tensor = DOUBTFUL) -> Batch:
    result = batch(400, 300)
    result.ignored = [ignored, ignored[:0]]
    result.ignored_labels = [torch.tensor(CLASSES[: len(ignored)]), torch.zeros(0, dtype=torch.int64)]
    return result


def aligned(row: list[float]):  # type: ignore[no-untyped-def]
    """The rectangle of a box turned to the nearest axis, as anchors are matched."""
    x, y, _, length, width, _, yaw = row
    if abs(np.sin(yaw)) > abs(np.cos(yaw)):
        length, width = width, length
    return rectangle(x - length / 2, y - width / 2, x + length / 2, y + width / 2)


def iou(anchor: list[float], box: list[float]) -> float:
    one, other = aligned(anchor), aligned(box)
    shared = one.intersection(other).area
    return shared / (one.area + other.area - shared)


def anchor_classes_by_hand(prediction, inputs: Batch, config: Config) -> list[list[int]]:  # type: ignore[no-untyped-def]
    """For each site and anchor its class, -1 background, -2 ignored, one pair of anchor and box after the other."""
    anchors = list(config.model.anchors.values())
    rows = prediction.anchors.tolist()
    answer = [[-1] * len(row) for row in rows]

    def overlaps(box: list[float], label: int, frame: int) -> dict[tuple[int, int], float]:
        return {(s, a): iou(rows[s][a], box) for s in range(len(rows)) if int(prediction.frame[s]) == frame
                for a in (2 * label, 2 * label + 1)}  # fmt: skip

    def every(boxes: list[Tensor], labels: list[Tensor]) -> list[tuple[list[float], int, int]]:
        pairs = enumerate(zip(boxes, labels, strict=True))
        return [
            (box, label, frame)
            for frame, (rows, names) in pairs
            for box, label in zip(rows.tolist(), names.tolist(), strict=True)
        ]

    assert inputs.ignored is not None
    assert inputs.ignored_labels is not None
    doubtful, sure = every(inputs.ignored, inputs.ignored_labels), every(inputs.boxes, inputs.labels)
    for boxes, positive in ((doubtful, False), (sure, True)):
        for box, label, frame in boxes:
            found = overlaps(box, label, frame)
            most = max(found.values())
            for (s, a), value in found.items():
                if value >= anchors[label].matched or (value == most and value > 0):
                    answer[s][a] = label if positive else -2
                elif value >= anchors[label].unmatched and answer[s][a] == -1:
                    answer[s][a] = -2
    return answer


@pytest.mark.parametrize("make", [pointpillars, second])
def test_anchors_by_hand(make) -> None:  # type: ignore[no-untyped-def]
    config = make()
    torch.manual_seed(0)
    detector, inputs = build_detector(config), with_doubt()
    prediction = detector(inputs)
    answer = torch.tensor(anchor_classes_by_hand(prediction, inputs, config))
    wanted = torch.zeros(2)
    for frame in range(2):
        here = prediction.frame == frame
        target = torch.stack([answer[here] == label for label in range(3)], dim=2).float()
        each = focal_loss(prediction.scores[here], target, 0.25, 2.0).sum(dim=2)[answer[here] != -2]
        wanted[frame] = each.sum() / max(1, int((answer[here] >= 0).sum()))
    losses = detector.loss(prediction, inputs)
    assert losses["classification"].item() == pytest.approx(float(wanted.detach().mean()), rel=1e-4)
    gradient = torch.autograd.grad(sum(losses.values()), prediction.scores)[0]
    assert (gradient[answer == -2] == 0).all()
    assert (gradient[answer != -2] != 0).any(dim=-1).all()
    without = detector.loss(prediction, batch(400, 300))
    assert losses["box"].item() == without["box"].item()  # the objects are the same
    only = torch.tensor(anchor_classes_by_hand(prediction, with_doubt(DOUBTFUL[:0]), config))
    assert (answer != only).sum() > 4  # the doubtful boxes do reach anchors


def test_centres_by_hand() -> None:
    detector, inputs = build_detector(centerpoint(bev="dense")), with_doubt()
    prediction = detector(inputs)
    losses, without = detector.loss(prediction, inputs), detector.loss(prediction, batch(400, 300))
    cells = ((prediction.corners - torch.tensor([0.0, -3.2])) / prediction.cell).round().long()
    settings = detector.config
    heatmap = center_targets(prediction, batch(400, 300), settings.data.range, settings.model.loss).heatmap
    ignored = torch.zeros_like(heatmap, dtype=torch.bool)
    for box, label in zip(DOUBTFUL.tolist(), CLASSES, strict=True):
        x, y = (int((box[axis] - low) / 0.4) for axis, low in ((0, 0.0), (1, -3.2)))
        near = (cells - torch.tensor([x, y])).abs().amax(dim=1) <= 2  # the least radius: these objects are small
        ignored[(prediction.frame == 0) & near, label] = True
    ignored &= heatmap < 1
    assert 20 < ignored.sum() < 51
    each = gaussian_focal_loss(prediction.scores, heatmap)
    share = 1 / 2 / 2  # of two objects in a frame, of two frames
    wanted = (without["heatmap"] - share * each[ignored].sum()).item()
    assert losses["heatmap"].item() == pytest.approx(wanted, rel=1e-4)
    gradient = torch.autograd.grad(losses["heatmap"], prediction.scores)[0]
    assert (gradient[ignored] == 0).all()
    assert (gradient[~ignored] != 0).all()
    assert losses["box"].item() == without["box"].item()


@pytest.mark.parametrize("make", [pointpillars, centerpoint])
def test_frames_without_points_or_objects(make) -> None:  # type: ignore[no-untyped-def]
    detector = build_detector(make())
    for sizes in ((0, 0), (50, 0)):
        inputs = batch(*sizes)
        inputs.boxes, inputs.labels = [box[:0] for box in inputs.boxes], [label[:0] for label in inputs.labels]
        inputs.ignored, inputs.ignored_labels = [DOUBTFUL, DOUBTFUL[:0]], [torch.tensor(CLASSES), torch.zeros(0).long()]
        losses = detector.loss(detector(inputs), inputs)
        total = sum(losses.values())
        assert torch.isfinite(total)
        total.backward()


def test_an_object_beside_a_doubtful_box_stays_one() -> None:
    """The doubtful box lies on the object itself."""
    for detector in (build_detector(pointpillars()), build_detector(centerpoint())):
        own = batch(400, 300)
        inputs = with_doubt(own.boxes[0][1:])
        inputs.ignored_labels = [own.labels[0][1:], torch.zeros(0, dtype=torch.int64)]
        prediction = detector(inputs)
        assert positives(detector, prediction, inputs) == positives(detector, prediction, own)


def positives(detector: Detector, prediction: Prediction, inputs: Batch) -> list[float]:
    """The terms that only objects have."""
    return [float(value) for name, value in detector.loss(prediction, inputs).items() if name in ("box", "direction")]
