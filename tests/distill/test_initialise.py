"""Teacher-guided initialisation."""

import pytest
import torch
from random_taps import random_batch
from tiny_pillars import tiny_config, tiny_networks

from mink_pd.distill import Distiller
from mink_pd.distill.initialise import inherit_weights
from mink_pd.errors import DistillError
from mink_pd.models import build_detector


@torch.no_grad()
def test_a_student_of_the_same_size_is_the_teacher() -> None:
    config = tiny_config()
    teacher, _ = tiny_networks(config)
    student = build_detector(config)
    inherit_weights(student, teacher)
    batch = random_batch(200)
    assert torch.equal(teacher.eval()(batch).scores, student.eval()(batch).scores)


@torch.no_grad()
def test_channels_stay_with_their_inputs_across_the_necks_concatenation() -> None:
    """A teacher whose every second channel is silent computes what its students of half the width compute."""
    config = tiny_config()
    teacher, student = tiny_networks(config)
    for name, module in teacher.named_modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.weight.normal_(1, 0.1)
            module.bias.normal_(0, 0.1)
            module.weight[1::2] = module.bias[1::2] = 0
            assert len(module.weight) % 2 == 0, name
    inherit_weights(student, teacher)
    batch = random_batch(300)
    ours, theirs = student.eval()(batch), teacher.eval()(batch)
    torch.testing.assert_close(ours.taps["neck"].features, theirs.taps["neck"].features[:, ::2])
    torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.boxes, theirs.boxes, rtol=1e-5, atol=1e-5)
    assert float(ours.taps["neck"].features.abs().max()) > 0.1


def test_the_distiller_does_it_before_training() -> None:
    config = tiny_config(methods=["sparsekd"], initialise="teacher")
    teacher, student = tiny_networks(config)
    Distiller(student, teacher, config)
    kernel = teacher.state_dict()["backbone.stages.0.0.convolution.kernel"]
    assert torch.equal(student.state_dict()["backbone.stages.0.0.convolution.kernel"], kernel[:, ::2, ::2])


def test_under_a_control_the_weights_are_the_controls() -> None:
    config = tiny_config(initialise="teacher", control="random")
    teacher, student = tiny_networks(config)
    Distiller(student, teacher, config)
    kernel = teacher.state_dict()["backbone.stages.0.0.convolution.kernel"]
    assert not torch.equal(student.state_dict()["backbone.stages.0.0.convolution.kernel"], kernel[:, ::2, ::2])


def test_another_architecture_is_refused() -> None:
    config = tiny_config()
    teacher, _ = tiny_networks(config)
    config.model.layers = [1, 2, 1]
    with pytest.raises(DistillError, match=r"distill\.initialise: 'backbone\.stages\.1\.2.*absent in the teacher"):
        inherit_weights(build_detector(config), teacher)
    config.model.layers, config.model.neck_channels = [1, 1, 1], 32
    with pytest.raises(DistillError, match=r"\[12, 8\] in the teacher|distill\.initialise: 'neck"):
        inherit_weights(build_detector(config), teacher)
