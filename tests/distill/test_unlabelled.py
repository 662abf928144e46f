"""The teacher's boxes in place of labels: which become objects, which are ignored, and in which frames."""

import math

import pytest
import torch
from random_taps import random_batch
from tiny_pillars import tiny_config, tiny_networks

from mink_pd.config import Config
from mink_pd.data.loading.batch import Batch
from mink_pd.distill import Distiller
from mink_pd.distill.labels import with_teacher_labels
from mink_pd.distill.unlabelled import Levels, PseudoLabels, summary
from mink_pd.errors import DistillError
from mink_pd.models import Detections, build_detector

LEVELS = [Levels(0.6, 0.3), Levels(0.8, 0.8), Levels(math.inf, -math.inf)]
NONE = Detections.none(torch.device("cpu"))


def boxes_at(*places: float) -> torch.Tensor:
    return torch.tensor([[x, 0.0, -1.0, 0.8, 0.6, 1.7, 0.0] for x in places])


def found() -> Detections:
    scores = torch.tensor([0.9, 0.6, 0.59, 0.3, 0.29, 0.8, 0.79, 0.99, 0.1])
    return Detections(boxes_at(*range(9)), torch.tensor([0, 0, 0, 0, 0, 1, 1, 2, 2]), scores)


def unlabelled(*sizes: int) -> Batch:
    """The first frame labelled, the others not."""
    inputs = random_batch(*sizes)
    for index in range(1, len(sizes)):
        inputs.frames[index].labelled = False
        inputs.boxes[index], inputs.labels[index] = inputs.boxes[index][:0], inputs.labels[index][:0]
    return inputs


def test_boxes_are_sorted_by_the_scores_of_their_class() -> None:
    inputs = unlabelled(50, 50, 50)
    result, logs = PseudoLabels(LEVELS)(inputs, [found(), found(), NONE])
    assert result.ignored is not None
    assert result.ignored_labels is not None
    assert torch.equal(result.boxes[0], inputs.boxes[0])  # labelled: the teacher has no say
    assert [len(each) for each in result.ignored] == [0, 4, 0]
    assert result.boxes[1][:, 0].tolist() == [0, 1, 5]
    assert result.labels[1].tolist() == [0, 0, 1]
    assert result.ignored[1][:, 0].tolist() == [2, 3, 7, 8]
    assert result.ignored_labels[1].tolist() == [0, 0, 2, 2]
    assert {name: float(value) for name, value in logs.items()} == {"unlabelled/kept": 1.5, "unlabelled/ignored": 2.0}
    assert len(inputs.boxes[1]) == 0  # the batch itself is as it was


def test_pasted_objects_stay_and_win() -> None:
    inputs = unlabelled(50, 50)
    pasted = boxes_at(1.1, 30.0)
    inputs.boxes[1], inputs.labels[1] = pasted, torch.tensor([2, 0])
    result, _ = PseudoLabels(LEVELS)(inputs, [NONE, found()])
    assert result.ignored is not None
    assert result.boxes[1][:, 0].tolist() == pytest.approx([0, 5, 1.1, 30])
    assert result.labels[1].tolist() == [0, 1, 2, 0]
    assert result.ignored[1][:, 0].tolist() == [2, 3, 7, 8]


def test_boxes_of_files_come_with_the_frames() -> None:
    inputs = unlabelled(50, 50)
    brought = found()
    inputs.boxes[1] = torch.cat([brought.boxes, boxes_at(30.0)])
    inputs.labels[1] = torch.cat([brought.labels, torch.tensor([2])])
    inputs.scores = [torch.full((2,), math.inf), torch.cat([brought.scores, torch.tensor([math.inf])])]
    result, _ = PseudoLabels(LEVELS, from_files=True)(inputs, [NONE, NONE])
    assert result.boxes[1][:, 0].tolist() == [0, 1, 5, 30]
    assert result.scores is None
    assert torch.equal(result.boxes[0], inputs.boxes[0])
    teachers, _ = PseudoLabels(LEVELS)(inputs, [NONE, NONE])  # the teacher's instead: only the pasted one is known
    assert teachers.boxes[1][:, 0].tolist() == [30]


def test_boxes_that_only_the_teacher_sees_are_left_out() -> None:
    inputs = unlabelled(50, 50)
    inputs.points = torch.tensor([[place, 0.1, -0.9, 0.5] for place in (0.0, 2.0, 5.1, 20.0)])
    inputs.frame = torch.tensor([1, 1, 1, 0])
    inputs.teacher = unlabelled(50, 50)
    result, _ = PseudoLabels(LEVELS)(inputs, [NONE, found()])
    assert result.ignored is not None
    assert result.boxes[1][:, 0].tolist() == [0, 5]
    assert result.ignored[1][:, 0].tolist() == [2]


def test_velocities_of_the_teacher_are_taken_over() -> None:
    inputs = unlabelled(50, 50)
    inputs.velocities = [torch.ones(2, 2), torch.zeros(0, 2)]
    moving = found()
    moving.velocities = torch.arange(18.0).view(9, 2)
    result, _ = PseudoLabels(LEVELS)(inputs, [NONE, moving])
    assert result.velocities is not None
    assert result.velocities[1].tolist() == [[0, 1], [2, 3], [10, 11]]
    assert torch.equal(result.velocities[0], inputs.velocities[0])


@pytest.mark.parametrize("control", ["none", "random"])
def test_the_loss_is_that_of_these_labels(control: str) -> None:
    """The control changes the features that the student is shown, not the labels."""
    config = tiny_config(methods=["fitnets"], control=control)
    config.model.nms.score = 0.005
    teacher, student = tiny_networks(config)
    inputs = unlabelled(200, 150, 0)
    with torch.no_grad():
        boxes = teacher.eval().detect(teacher(inputs))
    upper, lower = boxes[1].scores.quantile(torch.tensor([0.7, 0.4])).tolist()
    pseudo = PseudoLabels([Levels(upper, lower)] * 3)
    losses, logs = Distiller(student, teacher, config, pseudo)(inputs)
    labelled, _ = pseudo(inputs, boxes)
    assert labelled.ignored is not None
    assert len(labelled.boxes[1]) > 2
    assert len(labelled.ignored[1]) > 2
    wanted = student.loss(student(inputs), labelled)
    for name, value in wanted.items():
        assert losses[name].item() == pytest.approx(value.item(), rel=1e-5)
    assert logs["unlabelled/kept"] == pytest.approx(len(labelled.boxes[1]) / 2)
    assert any(name.startswith("fitnets") for name in losses)
    gradients = torch.autograd.grad(sum(losses.values()), list(student.parameters()), allow_unused=True)
    assert all(torch.isfinite(each).all() for each in gradients if each is not None)


def test_label_distillation_is_for_labelled_frames() -> None:
    config = tiny_config(methods=[], labels="teacher", label_score=0.01)
    config.model.nms.score = 0.005
    teacher, student = tiny_networks(config)
    inputs, pseudo = unlabelled(200, 150), PseudoLabels([Levels(math.inf, math.inf)] * 3)
    losses, logs = Distiller(student, teacher, config, pseudo)(inputs)
    with torch.no_grad():
        boxes = teacher.detect(teacher(inputs))
    assert (boxes[0].scores >= config.distill.label_score).any()
    wanted = student.loss(student(inputs), with_teacher_labels(inputs, [boxes[0], NONE], 0.01))
    assert losses["box"].item() == pytest.approx(wanted["box"].item(), rel=1e-5)
    assert logs["unlabelled/kept"] == 0


def test_a_batch_without_points_logs_zeros_and_one_without_unlabelled_frames_nothing() -> None:
    config = tiny_config(methods=["fitnets"])
    teacher, student = tiny_networks(config)
    wanted: dict[str, float] = {"unlabelled/kept": 0, "unlabelled/ignored": 0}
    for inputs in (unlabelled(0, 0), random_batch(100)):
        _, logs = Distiller(student, teacher, config, PseudoLabels(LEVELS))(inputs)
        assert {name: float(value) for name, value in logs.items() if name.startswith("unlabelled")} == wanted
        wanted = {}


def test_a_detector_that_cannot_ignore_is_refused_by_name() -> None:
    settings = Config.model_validate({"model": {"name": "pointrcnn"}})
    settings.distill.methods = []
    detector = build_detector(settings)
    with pytest.raises(DistillError, match=r"pointrcnn cannot ignore.*pointpillars"):
        Distiller(detector, detector, settings, PseudoLabels(LEVELS))


def test_levels_in_a_line() -> None:
    levels = {"Car": Levels(0.416, 0.2), "Van": Levels(math.inf, -math.inf)}
    assert summary(levels) == "Car 0.42 / 0.20, Van none / all"
