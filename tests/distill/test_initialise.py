"""Teacher-guided initialisation."""

import re
from pathlib import Path

import pytest
import torch
from random_taps import random_batch
from tiny_pillars import tiny_config, tiny_networks

from mink_pd.config import Config
from mink_pd.distill import Distiller
from mink_pd.distill.initialise import inherit_weights
from mink_pd.errors import DistillError
from mink_pd.models import Detector, build_detector
from mink_pd.models.detectors.pointrcnn import PointRCNN
from mink_pd.models.detectors.pointrcnn.pointnet import MLPLayer


@torch.no_grad()
def test_a_student_of_the_same_size_is_the_teacher() -> None:
    config = tiny_config()
    teacher, _ = tiny_networks(config)
    student = build_detector(config)
    inherit_weights(student, teacher)
    batch = random_batch(200)
    assert torch.equal(teacher.eval()(batch).scores, student.eval()(batch).scores)


NETWORKS = {
    "pointpillars": {},
    "second": {"voxel_size": [0.05, 0.05, 0.1], "encoder_channels": [4, 8, 8, 8, 12], "channels": [8, 12],
               "layers": [1, 1], "neck_channels": 8},
    "second, dense": {"voxel_size": [0.1, 0.1, 0.1], "encoder_channels": [4, 8, 8, 8, 12], "channels": [8, 12],
                      "layers": [1, 1], "neck_channels": 8, "bev": "dense"},
    "pointrcnn": {
        "points": 128, "propagation": [[12, 16], [8, 12]], "head_channels": [8],
        "stages": [{"points": 32, "radii": [1.0, 2.0], "neighbours": [8, 8], "channels": [[8, 12], [8, 20]]},
                   {"points": 8, "radii": [4.0], "neighbours": [8], "channels": [[8, 16]]}],
        "roi": {"points": 16, "channels": [8, 12], "head_channels": [8], "margin": 9.0,
                "stages": [{"points": 0, "radii": [9.0], "neighbours": [8], "channels": [[12, 16]]}]},
    },
}  # fmt: skip


def networks(kind: str) -> tuple[Detector, Detector]:
    """A teacher and a student of half its width."""
    config = tiny_config()
    if kind != "pointpillars":
        model = NETWORKS[kind] | {"name": kind.partition(",")[0]}
        config = Config.model_validate(config.model_dump() | {"model": model})
    return tiny_networks(config)


def silence(teacher: Detector) -> None:
    """Every second channel of every hidden layer gives 0."""
    for name, module in teacher.named_modules():
        if isinstance(module, MLPLayer) and module.norm is None:
            module.weight[1::2] = module.bias[1::2] = 0
        if isinstance(module, torch.nn.BatchNorm1d):
            module.weight.normal_(1, 0.1)
            module.bias.normal_(0, 0.1)
            module.weight[1::2] = module.bias[1::2] = 0
            assert len(module.weight) % 2 == 0, name


@torch.no_grad()
@pytest.mark.parametrize("kind", list(NETWORKS))
def test_channels_stay_with_their_inputs_where_layers_are_joined(kind: str) -> None:
    """A teacher whose every second channel is silent computes what its students of half the width compute."""
    teacher, student = networks(kind)
    silence(teacher)
    inherit_weights(student, teacher)
    batch = random_batch(300)
    shared = teacher.eval().shared_input(batch)
    ours, theirs = student.eval()(batch, shared), teacher(batch, shared)
    torch.testing.assert_close(ours.taps["neck"].features, theirs.taps["neck"].features[:, ::2])
    for name in ("scores", "boxes"):
        torch.testing.assert_close(ours.taps[name].features, theirs.taps[name].features, rtol=1e-5, atol=1e-5)
    assert float(ours.taps["neck"].features.abs().max()) > 0.1
    if isinstance(teacher, PointRCNN) and isinstance(student, PointRCNN):
        regions = teacher.propose(theirs)
        for own, wanted in zip(student.refine(ours, regions), teacher.refine(theirs, regions), strict=True):
            torch.testing.assert_close(own, wanted, rtol=1e-5, atol=1e-5)


def test_the_distiller_does_it_before_training() -> None:
    config = tiny_config(methods=["sparsekd"], initialise="teacher")
    teacher, student = tiny_networks(config)
    Distiller(student, teacher, config)
    kernel = teacher.state_dict()["bev.backbone.0.0.convolution.kernel"]
    assert torch.equal(student.state_dict()["bev.backbone.0.0.convolution.kernel"], kernel[:, ::2, ::2])


def test_under_a_control_the_weights_are_the_controls() -> None:
    config = tiny_config(initialise="teacher", control="random")
    teacher, student = tiny_networks(config)
    Distiller(student, teacher, config)
    kernel = teacher.state_dict()["bev.backbone.0.0.convolution.kernel"]
    assert not torch.equal(student.state_dict()["bev.backbone.0.0.convolution.kernel"], kernel[:, ::2, ::2])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"layers": [1, 2, 1]}, r"'bev\.backbone\.1\.2.*absent in the teacher"),
        ({"neck_channels": 32}, r"'bev\.neck.*\[9, 8, 8\] in the teacher and \[9, 8, 32\]"),
    ],
)
def test_another_architecture_is_refused_or_starts_at_random(change: dict, reason: str) -> None:
    config = tiny_config(initialise="teacher")
    teacher, _ = tiny_networks(config)
    for key, value in change.items():
        setattr(config.model, key, value)
    with pytest.raises(DistillError, match=rf"distill\.initialise: {reason}.*set distill\.initialise=random"):
        Distiller(build_detector(config), teacher, config)
    config.distill.initialise = "auto"
    student = build_detector(config)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    notes = Distiller(student, teacher, config).notes
    assert re.match(rf"the student starts from random weights, .*{reason}", notes[0])
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_student_inherits_by_default_unless_other_weights_are_given() -> None:
    config = tiny_config()
    teacher, student = tiny_networks(config)
    kernel = teacher.state_dict()["bev.backbone.0.0.convolution.kernel"][:, ::2, ::2]
    assert "a part of the teacher's weights" in Distiller(student, teacher, config).notes[0]
    assert torch.equal(student.state_dict()["bev.backbone.0.0.convolution.kernel"], kernel)
    config.train.initial = Path("runs/another")
    teacher, student = tiny_networks(config)
    assert Distiller(student, teacher, config).notes == [
        "methods (pointdistiller) teach in the first 40 of 80 epochs (distill.until)"
    ]
    assert not torch.equal(student.state_dict()["bev.backbone.0.0.convolution.kernel"], kernel)
