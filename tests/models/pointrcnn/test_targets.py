"""Which points and regions answer for which object, on cases made by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mink_pd.boxes.iou import iou_3d
from mink_pd.boxes.nms import nms
from mink_pd.config import load_config
from mink_pd.config.pointrcnn import PointRCNNConfig, ProposalConfig, RoIConfig
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import Batch
from mink_pd.models.detectors.pointrcnn.point_stage import assign_points
from mink_pd.models.detectors.pointrcnn.region_stage import Regions, draw, jitter, propose, sample_regions
from mink_pd.models.detectors.pointrcnn.roi import boxes_from_frame, boxes_to_frame, pool, to_frame
from mink_pd.points import PointSample

CAR = [10.0, 0.0, -1.0, 4.0, 2.0, 1.5, 0.0]
PERSON = [5.0, 3.0, -0.8, 0.8, 0.6, 1.7, 0.5]


def batch(boxes: list[Tensor], labels: list[Tensor]) -> Batch:
    frames = [Frame(str(i), np.zeros((0, 4), np.float32)) for i in range(len(boxes))]
    return Batch(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), boxes, labels, frames)


def test_points_know_their_object() -> None:
    """Frame 0 has no points at all: the sample's only frame is frame 1 of the batch."""
    places = [[10, 0, -1], [11.9, 0.9, -0.4], [12.1, 0, -1], [12.3, 0, -1], [5, 3, -0.8], [30, 0, 0]]
    points = torch.cat([torch.tensor(places, dtype=torch.float32), torch.zeros(6, 1)], dim=1)[None]
    sample = PointSample(points, torch.tensor([1]), 2)
    inputs = batch([torch.zeros(0, 7), torch.tensor([CAR, PERSON])], [torch.zeros(0).long(), torch.tensor([0, 1])])
    targets = assign_points(sample, inputs, margin=0.2)
    assert targets.labels.tolist() == [0, 0, -2, -1, 1, -1]
    torch.testing.assert_close(targets.boxes[[0, 1, 4]], torch.tensor([CAR, CAR, PERSON]))


def test_proposals_are_the_best_of_near_and_far_after_suppression() -> None:
    torch.manual_seed(0)
    count = 400
    boxes = torch.rand(count, 7) * torch.tensor([80, 20, 1, 3, 2, 1, 3.0]) + torch.tensor([0, 0, 0, 2, 1, 1, 0.0])
    frame, distance = torch.arange(count) % 2, boxes[:, 0]
    points = Regions(boxes, torch.zeros(count).long(), torch.rand(count), frame)
    settings = ProposalConfig(before=60, test=20, test_iou=0.2, near=40, near_share=0.7)
    ours = propose(points, distance, 2, settings, training=False)
    wanted = []
    for f in range(2):
        for near, before, after in ((True, 42, 14), (False, 18, 6)):
            here = torch.nonzero((frame == f) & ((distance <= 40) == near))[:, 0]
            best = here[points.scores[here].argsort(descending=True)[:before]]
            wanted.append(best[nms(boxes[best], points.scores[best], 0.2)[:after]])
    torch.testing.assert_close(ours.boxes, boxes[torch.cat(wanted)])
    assert ours.frame.bincount().tolist() == [len(wanted[0]) + len(wanted[1]), len(wanted[2]) + len(wanted[3])]


def test_proposals_of_a_short_training_reach_every_object() -> None:
    """Boxes of a car's many points overlap little while they are still wrong by 0.35 m, and score above a person's:
    suppression must not leave all places to the cars."""
    torch.manual_seed(0)
    cars = torch.tensor([[8.0 + 3 * i, -6.0 + 3 * (i % 5), -1, 3.9, 1.6, 1.56, 0.4 * i] for i in range(5)])
    people = torch.tensor([[9.0 + 4 * i, 9.0, -0.8, 0.8, 0.6, 1.73, 0.0] for i in range(3)])
    objects, labels = torch.cat([cars, people]), torch.tensor([0] * 5 + [1] * 3)
    own = torch.arange(8).repeat_interleave(torch.tensor([300] * 5 + [15] * 3))  # (1545,)
    boxes = objects[own].clone()
    boxes[:, :2] += torch.where(labels[own] == 0, 0.25, 0.1)[:, None] * torch.randn(len(own), 2)
    boxes[:, 6] += 0.1 * torch.randn(len(own))
    scores = torch.where(labels[own] == 0, 0.6, 0.3) + 0.1 * torch.rand(len(own))
    points = Regions(boxes, labels[own], scores, torch.zeros_like(own))
    model = load_config("configs/pointrcnn_simulator.yaml").model
    assert isinstance(model, PointRCNNConfig)
    for training in (False, True):
        found = propose(points, objects[own, :2].norm(dim=1), 1, model.proposals, training)
        overlap = iou_3d(found.boxes.numpy(), objects.numpy()) * (found.labels[:, None] == labels).numpy()
        assert (overlap.max(axis=0) > 0.5).all()


def shifted(box: list[float], x: float) -> list[float]:
    return [box[0] + x, *box[1:]]


def test_regions_and_their_targets() -> None:
    """Boxes of a car moved along its length by 0.2, 1.2, 2 and 20 m overlap it by 0.90, 0.54, 0.33 and 0."""
    settings = RoIConfig(sampled=64, jitter=0, labelled=False)
    boxes = torch.tensor([shifted(CAR, x) for x in (0.2, 1.2, 2, 20)] + [CAR])
    labels = torch.tensor([0, 0, 0, 0, 1])  # the last lies right, but is called a pedestrian
    regions = Regions(boxes, labels, torch.ones(5), torch.zeros(5).long())
    found, targets = sample_regions(regions, [torch.tensor([CAR])], [torch.tensor([0])], settings)
    assert len(found) == 64
    position = found.boxes[:, 0] - CAR[0]
    assert targets.scores[position == 2.0].eq(0).all()
    assert targets.scores[position == 20.0].eq(0).all()
    assert not (position - 1.2).abs().lt(1e-3).any()  # between background and foreground: never drawn
    right = found.labels == 1
    assert right.any()
    assert targets.scores[right].eq(0).all()
    positive = (position - 0.2).abs() < 1e-3
    assert positive.sum() == 1
    assert targets.scores[positive].eq(1).all()
    assert torch.equal(targets.regressed, positive)
    torch.testing.assert_close(targets.boxes[positive], torch.tensor([CAR]))


def test_a_frame_without_objects_has_negatives_only() -> None:
    regions = Regions(torch.tensor([CAR, PERSON]), torch.tensor([0, 1]), torch.ones(2), torch.zeros(2).long())
    none = torch.zeros(0, 7), torch.zeros(0).long()
    found, targets = sample_regions(regions, [none[0]], [none[1]], RoIConfig(sampled=8))
    assert len(found) == 8
    assert targets.scores.tolist() == [0] * 8
    assert not targets.regressed.any()


def test_labelled_boxes_may_be_regions() -> None:
    nothing = Regions(torch.tensor([shifted(CAR, 30)]), torch.tensor([0]), torch.ones(1), torch.zeros(1).long())
    _, targets = sample_regions(nothing, [torch.tensor([CAR])], [torch.tensor([0])], RoIConfig(sampled=8))
    assert targets.scores.sum() == 1


def test_shares_of_the_draw() -> None:
    overlap = torch.cat([torch.full((50,), 0.7), torch.full((50,), 0.5), torch.full((50,), 0.2), torch.zeros(50)])
    rows = draw(overlap, RoIConfig(sampled=40))
    kinds = torch.tensor([overlap[r] for r in rows])
    assert [(kinds == k).sum().item() for k in overlap.unique()] == [4, 16, 0, 20]
    assert len(rows.unique()) == 40
    assert len(draw(overlap[50:100], RoIConfig(sampled=40))) == 40  # nothing decided: still as many
    assert len(draw(overlap[:3], RoIConfig(sampled=40))) == 40


def test_moved_positives_stay_positive() -> None:
    torch.manual_seed(0)
    objects = torch.tensor([CAR, PERSON]).repeat(30, 1)
    moved, overlap = jitter(objects.clone(), objects, torch.ones(60), RoIConfig())
    assert (moved != objects).any(dim=1).sum() > 40
    wanted = [iou_3d(a[None], b[None])[0, 0] for a, b in zip(moved.numpy(), objects.numpy(), strict=True)]
    np.testing.assert_allclose(overlap, wanted, atol=1e-5)
    assert overlap.min() >= 0.55


def test_frames_of_regions_are_undone() -> None:
    torch.manual_seed(0)
    boxes, regions = torch.rand(20, 7).double() * 5, torch.rand(20, 7).double() * 5
    torch.testing.assert_close(boxes_from_frame(boxes_to_frame(boxes, regions), regions), boxes)
    ahead = regions[:, :3] + torch.stack([regions[:, 6].cos(), regions[:, 6].sin(), 0 * regions[:, 6]], dim=1)
    wanted = torch.tensor([1.0, 0, 0]).double().expand(20, 3)
    torch.testing.assert_close(to_frame(ahead, regions), wanted)


@pytest.mark.parametrize("once", [True, False])
def test_pooling_against_a_loop(once: bool) -> None:
    torch.manual_seed(0)
    points = torch.rand(2, 300, 4) * torch.tensor([20, 10, 2, 1.0])
    sample = PointSample(points, torch.tensor([0, 3]), 4)
    scores, features = torch.rand(600), torch.rand(600, 5)
    boxes = torch.tensor([[8, 4, 1, 3, 2, 1, 0.7], [900, 0, 0, 1, 1, 1, 0], [15, 6, 1, 1, 1, 1, 0]])
    regions = Regions(boxes, torch.zeros(3).long(), torch.ones(3), torch.tensor([1, 1, 0]))
    pooled = pool(sample, scores, features, regions, RoIConfig(points=8, margin=0.5, depth=70), once)
    counts = pooled.counts.tolist()
    for r, (xyz, extra, own) in enumerate(
        zip(*(part.split(counts) for part in (pooled.xyz, pooled.extra, pooled.own_features())), strict=True)
    ):
        frame = regions.frame[r]
        local = to_frame(points[frame, :, :3], boxes[r].expand(300, 7))
        inside = torch.nonzero((local.abs() <= boxes[r, 3:6] / 2 + 0.5).all(dim=1))[:, 0]
        if len(inside) == 0:
            assert counts[r] == (1 if once else 8)
            assert all((part == 0).all() for part in (xyz, extra, own))
            continue
        rows = inside[torch.arange(min(len(inside), 8) if once else 8) % len(inside[:8])]
        torch.testing.assert_close(xyz, local[rows])
        torch.testing.assert_close(own, features[300 * frame + rows])
        torch.testing.assert_close(extra[:, 0], scores[300 * frame + rows])
        torch.testing.assert_close(extra[:, 1], points[frame, rows, :3].norm(dim=1) / 70 - 0.5)
    assert len(inside) < 8 < len(pooled.xyz)
