"""Every method in a training step: what gets gradients, what is refused, what goes together."""

import math

import pytest
import torch
from random_taps import random_batch
from tiny_pillars import tiny_config, tiny_networks

from mink_pd.distill import Distiller
from mink_pd.distill.distiller import check_geometry, taught_epochs
from mink_pd.distill.inspect import inspect_importance
from mink_pd.distill.pairs import pair_taps
from mink_pd.errors import ConfigError, DistillError
from mink_pd.models import build_detector
from mink_pd.models.agreement import other_points
from mink_pd.registry import METHODS
from mink_pd.sparse import multiplies_bf16


@pytest.mark.parametrize("name", METHODS)
def test_a_step_trains_student_and_adapters_and_leaves_the_teacher(name: str) -> None:
    config = tiny_config(methods=[name])
    teacher, student = tiny_networks(config)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    distiller = Distiller(student, teacher, config)
    distiller.train()
    optimiser = torch.optim.SGD([p for p in distiller.parameters() if p.requires_grad], lr=1e-3)
    losses, logs = distiller(random_batch(300, 0, 150))
    own = {key: value for key, value in losses.items() if key.startswith(f"{name}_")}
    assert len(own) == len(getattr(config.distill, name).taps or config.distill.taps)
    assert all(value > 0 for value in own.values())
    assert all(key.startswith(f"{name}/") and torch.isfinite(value) for key, value in logs.items())
    sum(own.values()).backward()  # without the detection loss: the gradients are the method's
    optimiser.step()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert sum(float(p.grad.abs().sum()) for p in student.parameters() if p.grad is not None) > 0
    adapters = [p for p in distiller.methods[name].parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in adapters)
    assert all(p.isfinite().all() for p in distiller.parameters())


def test_the_same_seed_gives_the_same_losses() -> None:
    values = []
    for _ in range(2):
        config = tiny_config(methods=list(METHODS))
        teacher, student = tiny_networks(config)
        losses, _ = Distiller(student, teacher, config)(random_batch(200, 100))
        values.append({key: value.item() for key, value in losses.items()})
    assert values[0] == values[1]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "pointdistiller"])
def test_a_missing_tap_is_named(name: str) -> None:
    config = tiny_config(methods=[name], taps=["bev9"])
    teacher, student = tiny_networks(config)
    section = getattr(config.distill, name)
    if section.taps is not None:  # an output of the head: taken from a detector that has none
        channels = {key: value for key, value in student.tap_channels().items() if key not in section.taps}
        student.tap_channels = lambda: channels  # type: ignore[method-assign]
    missing, key = ("bev9", "distill.taps") if section.taps is None else (section.taps[0], f"distill.{name}.taps")
    with pytest.raises(DistillError, match=f"{key}: no tap '{missing}'; there are pillars, bev1"):
        Distiller(student, teacher, config)


@pytest.mark.parametrize("name", ["pointdistiller", "similarity"])
def test_importance_without_its_tap_is_refused_before_training(name: str) -> None:
    config = tiny_config(methods=[name])
    teacher, student = tiny_networks(config)
    channels = {key: value for key, value in teacher.tap_channels().items() if key != "scores"}
    teacher.tap_channels = lambda: channels  # type: ignore[method-assign]
    with pytest.raises(DistillError, match=rf"distill\.{name}\.importance: no tap 'scores'"):
        Distiller(student, teacher, config)


def test_disagreement_is_the_largest_difference_of_class_scores() -> None:
    config = tiny_config(methods=["pointdistiller"])
    teacher, student = tiny_networks(config)
    teacher.requires_grad_(False)
    batch = random_batch(300, 150)
    shared = student.shared_input(batch)
    theirs, ours = teacher.eval()(batch, shared), student.train()(batch, shared)
    pair = pair_taps(["bev1"], theirs, ours, theirs, batch)[0]
    scores, cells = theirs.taps["scores"], {}
    for row, place in enumerate(scores.coordinates.tolist()):  # type: ignore[attr-defined]
        cell = (place[0], *(x // 2 * 2 for x in place[1:]))
        logits = [each.taps["scores"].features[row].tolist() for each in (theirs, ours)]
        differences = [abs(1 / (1 + math.exp(-a)) - 1 / (1 + math.exp(-b))) for a, b in zip(*logits, strict=True)]
        cells[cell] = max(cells.get(cell, 0.0), *differences)
    found = pair.importance("disagreement")
    assert not found.requires_grad
    expected = [cells[tuple(place)] for place in pair.teacher.coordinates.tolist()]  # type: ignore[attr-defined]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    assert not torch.equal(found, pair.importance("score"))


def test_a_teacher_that_only_gives_its_weights_is_not_run() -> None:
    config = tiny_config(methods=[], initialise="teacher")
    teacher, student = tiny_networks(config)
    distiller, batch = Distiller(student, teacher, config), random_batch(200, 100)
    teacher.forward = None  # type: ignore[assignment, method-assign]
    losses, logs = distiller(batch)
    expected = student.loss(student(batch, student.shared_input(batch)), batch)
    assert losses == expected
    assert logs == {}


def test_methods_teach_until_their_share_of_the_epochs_is_done() -> None:
    config = tiny_config(methods=["pointdistiller"], until=0.3)
    config.train.epochs = 10
    teacher, student = tiny_networks(config)
    distiller, batch, run = Distiller(student, teacher, config), random_batch(200, 100), teacher.forward
    assert distiller.notes[-1] == "methods (pointdistiller) teach in the first 3 of 10 epochs (distill.until)"
    taught = []
    for epoch in range(1, 11):
        distiller.begin_epoch(epoch)
        taught.append("pointdistiller_bev1" in distiller(batch)[0])
    assert taught == [True] * 3 + [False] * 7
    teacher.forward = None  # type: ignore[assignment, method-assign]
    assert distiller(batch)[0].keys() == student.loss(student(batch, student.shared_input(batch)), batch).keys()
    teacher.forward = run  # type: ignore[method-assign]
    distiller.begin_epoch(1)
    assert "pointdistiller_bev1" in distiller(batch)[0]


@pytest.mark.parametrize(("epochs", "until", "taught"), [(1, 0.5, 1), (25, 0.5, 13), (30, 0.1, 3), (7, 1.0, 7)])
def test_every_share_of_the_epochs_is_whole_epochs(epochs: int, until: float, taught: int) -> None:
    config = tiny_config(until=until)
    config.train.epochs = epochs
    assert taught_epochs(config) == taught


def test_disagreement_trains_and_is_refused_where_there_is_no_student_to_compare() -> None:
    config = tiny_config(methods=["pointdistiller"], pointdistiller={"importance": "disagreement"})
    teacher, student = tiny_networks(config)
    losses, _ = Distiller(student, teacher, config)(random_batch(200, 100))
    assert losses["pointdistiller_bev1"] > 0
    with pytest.raises(DistillError, match="'disagreement' compares a teacher with a student; choose from"):
        inspect_importance(teacher, random_batch(200).frames[0], "bev1", "disagreement", 8)
    channels = {key: value for key, value in student.tap_channels().items() if key != "scores"}
    student.tap_channels = lambda: channels  # type: ignore[method-assign]
    with pytest.raises(DistillError, match=r"distill\.pointdistiller\.importance: no tap 'scores'"):
        Distiller(student, teacher, config)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("model.anchors", {"anchors": {"Car": {"size": (4.5, 1.6, 1.56), "z": -1, "matched": 0.6, "unmatched": 0.45}}}),
        ("model.anchors", {"anchors": {"Car": {"size": (3.9, 1.6, 1.56), "z": 0, "matched": 0.6, "unmatched": 0.45}}}),
        ("model.head.headings", {"head": {"headings": (0.0, 0.8)}}),
        ("model.head.places", {"head": {"places": "ends"}}),
    ],
)
def test_heads_whose_numbers_mean_other_boxes_are_not_compared(key: str, change: dict) -> None:
    """Of equal numbers the loss is 0, and they are other boxes; methods that read features alone do not care."""
    for methods, tap in ((["logits"], "scores"), (["sparsekd"], "scores|boxes"), (["fitnets"], None)):
        config = tiny_config(methods=methods)
        teacher, student = tiny_networks(config)
        tree = teacher.config.model_dump()
        for section, values in change.items():
            tree["model"][section] |= values
        other = build_detector(type(config).model_validate(tree))
        if tap is None:
            Distiller(student, other, config)
            continue
        with pytest.raises(DistillError, match=rf"{methods[0]} compares ({tap}), and {key} differs"):
            Distiller(student, other, config)


BOX = [-1.0, -1.0, -2.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"intensity": "none"}, "data.intensity"),
        ({"intensity": 255}, "data.intensity"),
        ({"own_vehicle": BOX}, "data.own_vehicle"),
        ({"returns": 1}, "data.returns"),
        ({"camera_view": False}, "data.camera_view"),
        ({"classes": ["Car"]}, "data.classes"),
        ({"root": "elsewhere", "intensity": "none", "columns": ["x", "y", "z"]}, "data.intensity"),
        ({"root": "elsewhere", "camera_view": False}, "data.camera_view"),
        ({"root": "elsewhere", "intensity": 255, "own_vehicle": BOX, "dtype": "float64"}, None),
        ({"beams": {"sensor": "hdl64e", "keep": 16}, "augment": {"enabled": False}, "max_frames": 3}, None),
        ({"train_split": "few", "val_split": "more", "repeat": 2, "cache_mb": 1, "workers": 0}, None),
    ],
)
def test_the_teacher_must_be_shown_what_it_knows(change: dict, key: str | None) -> None:
    """Files of another sensor may store points in another way, but not without what the others have."""
    config = tiny_config(methods=["fitnets"])
    teacher, student = tiny_networks(config)
    tree = student.config.model_dump()
    tree["data"] |= change
    student.config = type(config).model_validate(tree)
    if key is None:
        check_geometry(student, teacher)
        return
    with pytest.raises(DistillError, match=rf"^{key} is .* for the student and .* for the teacher"):
        check_geometry(student, teacher)


def test_a_teacher_of_other_columns_is_refused() -> None:
    config = tiny_config(methods=["fitnets"])
    teacher, student = tiny_networks(config)
    tree = student.config.model_dump()
    tree["data"] = {"kind": "nuscenes", "root": "elsewhere", "classes": ["car"], "range": tree["data"]["range"]}
    tree["model"] = {"name": "centerpoint_pillars"}
    student.config = type(config).model_validate(tree)
    keys = [key for key, *_ in other_points(student.config, teacher.config)]
    assert {"data.kind", "data.sweeps"} <= set(keys)
    assert "data.version" not in keys


def test_methods_combine() -> None:
    both = tiny_config(methods=["pointdistiller", "sparsekd", "fitnets"], taps=["bev3"])
    teacher, student = tiny_networks(both)
    losses, logs = Distiller(student, teacher, both)(random_batch(200, 100))
    assert list(losses)[3:] == [
        "pointdistiller_bev1", "pointdistiller_bev2", "pointdistiller_neck", "sparsekd_scores", "sparsekd_boxes",
        "fitnets_bev3",
    ]  # fmt: skip
    assert {"pointdistiller/neck/inside", "sparsekd/scores/inside", "fitnets/bev3/student_rms"} < set(logs)
    alone = tiny_config(methods=["sparsekd"])
    teacher, student = tiny_networks(alone)
    single, _ = Distiller(student, teacher, alone)(random_batch(200, 100))
    assert all(torch.equal(single[key], losses[key]) for key in single)


def test_a_teacher_in_bfloat16_changes_its_own_features_and_nothing_of_the_student() -> None:
    """Where the processor does not multiply bfloat16, nothing changes, and the user is told."""
    losses, gradients, notes = [], [], []
    for precision in ("full", "bf16"):
        config = tiny_config(methods=["fitnets"], teacher_precision=precision)
        teacher, student = tiny_networks(config)
        distiller = Distiller(student, teacher, config)
        terms, _ = distiller(random_batch(200, 100))
        losses.append({name: value.item() for name, value in terms.items()})
        notes.append([note for note in distiller.notes if "teacher_precision" in note])
        sum(terms.values()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None]))
    full, rounded = losses
    own = [name for name in full if name.startswith("fitnets")]
    assert {name: value for name, value in full.items() if name not in own} == {
        name: value for name, value in rounded.items() if name not in own
    }
    assert any(rounded[name] != full[name] for name in own) == multiplies_bf16()
    assert [len(one) for one in notes] == [0, 0 if multiplies_bf16() or torch.cuda.is_available() else 1]
    assert all(rounded[name] == pytest.approx(full[name], rel=0.02) for name in own)
    assert float((gradients[1] - gradients[0]).norm() / gradients[0].norm()) < 0.02
    assert gradients[1].dtype == torch.float32


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    config = tiny_config(methods=["control"])  # a key of the section, but no method
    with pytest.raises(ConfigError, match=r"unknown name 'control'; choose from .*fitnets, .*sparsekd"):
        Distiller(*reversed(tiny_networks(config)), config)


def test_a_batch_out_of_range_has_no_loss() -> None:
    config = tiny_config(methods=list(METHODS))
    teacher, student = tiny_networks(config)
    losses, logs = Distiller(student, teacher, config)(random_batch(0, 0))
    assert sum(value.item() for value in losses.values()) == 0
    assert logs == {}


def test_weights_scale_the_terms() -> None:
    values = []
    for weight in (1.0, 3.0):
        config = tiny_config(methods=["fitnets"], fitnets={"weight": weight, "taps": ["bev1"]})
        teacher, student = tiny_networks(config)
        values.append(Distiller(student, teacher, config)(random_batch(100))[0]["fitnets_bev1"].item())
    assert values[1] == pytest.approx(3 * values[0])
