"""Every method with a centre head, and what SparseKD's recipe adds for it."""

import math

import pytest
import torch
from models.frames import batch, centerpoint, centerpoint_nuscenes, centerpoint_voxels, nuscenes_batch

from mink_pd.config import Config
from mink_pd.distill import Distiller
from mink_pd.distill.labels import with_teacher_labels
from mink_pd.errors import DistillError
from mink_pd.models import Detections, build_detector
from mink_pd.registry import METHODS


def pair_of(config: Config, compression: float = 4.0):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    small = config.model_copy(deep=True)
    small.model.compression = compression
    return build_detector(small), build_detector(config)


@pytest.mark.parametrize("bev", ["sparse", "dense"])
def test_every_method_pulls_the_student(bev: str) -> None:
    config = centerpoint_nuscenes(bev=bev)
    for name in METHODS:
        if name in METHODS.built_in:
            config.distill.methods = [name]
            student, teacher = pair_of(config)
            distiller = Distiller(student, teacher, config)
            losses, _ = distiller(nuscenes_batch(300, 200))
            own = [loss for key, loss in losses.items() if key.startswith(name)]
            assert own, name
            gradients = torch.autograd.grad(sum(own), list(student.parameters()), allow_unused=True)
            assert all(torch.isfinite(g).all() for g in gradients if g is not None), name
            assert sum(float(g.abs().sum()) for g in gradients if g is not None) > 0, name


def test_sparsekd_by_a_loop() -> None:
    """The teacher's most confident sites; the box of each task weighed by its own classes' confidence."""
    config = centerpoint_nuscenes()
    config.distill.methods, config.distill.sparsekd.rows = ["sparsekd"], 5
    student, teacher = pair_of(config)
    inputs = nuscenes_batch(300, 200)
    losses, _ = Distiller(student, teacher, config)(inputs)
    shared = student.shared_input(inputs)
    with torch.no_grad():
        ours, theirs = student(inputs, shared), teacher(inputs, shared)  # both as the distiller leaves them
    confidence = theirs.taps["scores"].features.sigmoid()
    frame, heat, box, heat_weight, box_weight = theirs.taps["scores"].frame.tolist(), 0.0, 0.0, 0.0, 0.0
    for index in range(2):
        rows = sorted((r for r in range(len(frame)) if frame[r] == index), key=lambda r: -float(confidence[r].max()))[
            :5
        ]
        for row in rows:
            mask = float(confidence[row].max())
            gap = confidence[row] - ours.taps["scores"].features[row].sigmoid()
            heat, heat_weight = heat + mask * float(gap.square().sum()), heat_weight + mask
            for task, classes in enumerate(([2], [1, 0])):
                mask = float(confidence[row, classes].max())
                gap = (theirs.taps["boxes"].features[row] - ours.taps["boxes"].features[row]).view(2, 8)[task]
                box, box_weight = box + mask * float(gap.abs().sum()), box_weight + mask
    assert losses["sparsekd_scores"].item() == pytest.approx(10 * heat / heat_weight, rel=1e-3)
    assert losses["sparsekd_boxes"].item() == pytest.approx(0.2 * box / box_weight, rel=1e-3)


@pytest.mark.parametrize("make", [centerpoint, centerpoint_voxels, lambda: centerpoint(pillar_layers=[8])])
def test_a_student_of_full_width_inherits_the_teacher(make) -> None:  # type: ignore[no-untyped-def]
    config = make()
    config.distill.initialise, config.distill.methods = "teacher", []
    student, teacher = pair_of(config, compression=1.0)
    Distiller(student, teacher, config)
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in student.state_dict().items())
    student, teacher = pair_of(config, compression=4.0)
    Distiller(student, teacher, config)(batch(100))


def test_teacher_labels_come_before_the_labelled_ones() -> None:
    inputs = nuscenes_batch(50, 50)
    boxes = torch.tensor([[1.0, 1, 0, 4, 2, 1.5, 0], [2.0, 1, 0, 4, 2, 1.5, 0]])
    sure = Detections(boxes, torch.tensor([1, 0]), torch.tensor([0.9, 0.3]), torch.tensor([[3.0, 0.0], [0.0, 0.0]]))
    more = with_teacher_labels(inputs, [sure, Detections.none(torch.device("cpu"))], 0.5)
    assert [len(each) for each in more.boxes] == [3, 2]
    assert torch.equal(more.boxes[0], torch.cat([boxes[:1], inputs.boxes[0]]))
    assert more.labels[0].tolist() == [1, *inputs.labels[0].tolist()]
    assert more.velocities is not None
    assert more.velocities[0][0].tolist() == [3.0, 0.0]
    sure.velocities = None
    more = with_teacher_labels(inputs, [sure, Detections.none(torch.device("cpu"))], 0.5)
    assert more.velocities is not None
    assert all(math.isnan(v) for v in more.velocities[0][0].tolist())
    assert len(inputs.boxes[0]) == 2  # the batch itself is as it was


def test_label_distillation_is_the_loss_with_these_labels() -> None:
    config = centerpoint()
    config.distill.methods, config.distill.labels, config.distill.label_score = [], "teacher", 0.1
    config.model.nms.score = 0.05
    student, teacher = pair_of(config)
    for branches in teacher.head.branches:
        branches["heatmap"][1].convolution.bias.data.view(-1)[1] = -2.0  # some scores above 0.1, none of them certain
    inputs = batch(300)
    distiller = Distiller(student, teacher, config)
    losses, _ = distiller(inputs)
    with torch.no_grad():
        found = teacher.detect(teacher(inputs))
    assert (found[0].scores >= 0.1).any()
    student.train()
    wanted = student.loss(student(inputs), with_teacher_labels(inputs, found, 0.1))
    for name, loss in wanted.items():
        assert losses[name].item() == pytest.approx(loss.item(), rel=1e-4)


def test_heads_of_other_tasks_are_refused() -> None:
    config, other = centerpoint_nuscenes(), centerpoint_nuscenes(tasks=[["pedestrian", "truck"], ["car"]])
    with pytest.raises(DistillError, match="same classes, and anchors or tasks"):
        Distiller(build_detector(config), build_detector(other), config)
