"""A teacher that sees more points than its student: pairs against dictionaries of coordinates, losses against pairs
that were made from these, and what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from random_taps import CLASSES, RANGE, random_batch
from tiny_pillars import tiny_config, tiny_networks
from torch import Tensor

from mink_pd.boxes.geometry import pairs_in_boxes
from mink_pd.config import Config, load_config
from mink_pd.config.data import BeamsConfig, FewerBeamsConfig
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.distill import Distiller
from mink_pd.distill.labels import with_teacher_labels
from mink_pd.distill.pairs import TapPair, pair_taps
from mink_pd.errors import DistillError
from mink_pd.models import Detections, Prediction, build_detector
from mink_pd.models.taps import LevelsTap, RowsTap, SiteTap, Tap
from mink_pd.registry import METHODS
from mink_pd.sparse.voxels import find_sites

SIZES = (300, 0, 150)
VOXELS = {"name": "second", "voxel_size": [0.1, 0.1, 0.2], "encoder_channels": [4, 4, 8, 8, 8], "channels": [8, 8],
          "strides": [1, 2], "layers": [1, 1], "neck_channels": 8}  # fmt: skip
PYRAMID = {"voxel_size": [0.2, 0.2, 4.0], "pillar_channels": 8, "channels": [8, 12, 16], "layers": [1, 1, 1],
           "neck_channels": 8, "neck": "fpn"}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "pillars": {},
    "dense": {"bev": "dense"},
    "few points": {"max_points": 2},
    "pyramid": PYRAMID,
    "voxels": VOXELS,
}


def thinned_batch(share: float, *sizes: int) -> Batch:
    """Frames of random points, of which the student sees about ``share``."""
    random = np.random.default_rng(5)
    frames = random_batch(*(sizes or SIZES)).frames
    return collate([replace(frame, seen=random.random(len(frame.points)) < share) for frame in frames], CLASSES)


def config_of(shape: str, **distill: object) -> Config:
    tree = tiny_config(**distill).model_dump()
    model = SHAPES[shape]
    tree["model"] = model if "channels" in model else tree["model"] | model
    return Config.model_validate(tree)


def predictions(shape: str, batch: Batch) -> tuple[Prediction, Prediction]:
    """Of the teacher on all points and of the student on those that it sees."""
    teacher, student = tiny_networks(config_of(shape))
    assert batch.teacher is not None
    return teacher.eval()(batch.teacher), student.eval()(batch)


def places(tap: Tap) -> list[tuple[int, ...]]:
    """What tells a row of the tap from the others."""
    if isinstance(tap, LevelsTap):
        return [(number, *place) for number, level in enumerate(tap.levels) for place in places(level)]
    assert isinstance(tap, SiteTap)
    return [tuple(place) for place in tap.coordinates.tolist()]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_students_sites_are_among_the_teachers_and_paired_with_them(shape: str) -> None:
    batch = thinned_batch(0.03)
    teacher, student = predictions(shape, batch)
    names = [name for name in student.taps if name in teacher.taps]
    assert len(names) >= 5
    for pair in pair_taps(names, teacher, student, teacher, batch):
        theirs, ours = teacher.taps[pair.name], student.taps[pair.name]
        row_of = {place: row for row, place in enumerate(places(theirs))}
        assert set(places(ours)) <= set(row_of), pair.name
        expected = torch.tensor([row_of[place] for place in places(ours)])
        assert pair.rows is not None
        assert torch.equal(pair.rows, expected)
        assert pair.student is ours
        assert torch.equal(pair.teacher.features, theirs.features[expected])
        assert torch.equal(pair.teacher.centres, ours.centres)
        assert torch.equal(pair.teacher.frame, ours.frame)
        assert 0 < len(places(ours)) < len(places(theirs))


def test_sites_are_found_as_in_a_dictionary() -> None:
    random = torch.Generator().manual_seed(0)
    draw = torch.randint(-6, 7, (400, 4), generator=random, dtype=torch.int32)
    sites, wanted = torch.unique(draw[:200], dim=0), draw[200:]
    sites = sites[torch.randperm(len(sites), generator=random)]
    row_of = {tuple(site): row for row, site in enumerate(sites.tolist())}
    found = find_sites(sites, wanted)
    assert found.tolist() == [row_of.get(tuple(place), -1) for place in wanted.tolist()]
    assert find_sites(sites, wanted[:0]).tolist() == []
    assert find_sites(sites[:0], wanted[:3]).tolist() == [-1] * 3


def test_rows_that_the_teacher_lacks_are_left_out() -> None:
    batch = thinned_batch(0.3)
    teacher, student = predictions("pillars", batch)
    whole = teacher.taps["bev1"]
    assert isinstance(whole, SiteTap)
    teacher.taps["bev1"] = RowsTap(whole, torch.arange(0, len(whole.features), 3))
    pair = pair_taps(["bev1"], teacher, student, teacher, batch)[0]
    assert 0 < len(pair.student.features) < len(student.taps["bev1"].features)
    kept = {place for row, place in enumerate(places(whole)) if row % 3 == 0}
    rows = [row for row, place in enumerate(places(student.taps["bev1"])) if place in kept]
    assert torch.equal(pair.student.features, student.taps["bev1"].features[rows])
    assert torch.equal(pair.teacher.centres, pair.student.centres)


def test_some_rows_of_a_tap_are_a_tap() -> None:
    batch = thinned_batch(0.5)
    tap = predictions("pillars", batch)[0].taps["bev1"]
    rows = torch.randperm(len(tap.features), generator=torch.Generator().manual_seed(1))[:40]
    some = RowsTap(tap, rows)
    assert torch.equal(some.counts(), tap.counts()[rows])
    rank = tap.order().argsort()  # (M,): where each row stands in the order
    assert some.order().tolist() == sorted(range(40), key=lambda i: int(rank[rows[i]]))
    values = torch.rand(40)
    spread = torch.zeros(len(tap.features))
    for row, value in zip(rows.tolist(), values, strict=True):
        spread[row] = value
    assert torch.equal(some.on_points(values), tap.on_points(spread))
    assert torch.equal(some.carry(values, tap), spread)
    assert torch.equal(some.positions(torch.tensor([3])), tap.positions(rows[3:4]))


def step(batch: Batch, config: Config) -> tuple[dict[str, Tensor], dict[str, Tensor], list[Tensor | None]]:
    """Losses, logs and gradients."""
    teacher, student = tiny_networks(config)
    distiller = Distiller(student, teacher, config).train()
    losses, logs = distiller(batch)
    torch.stack(list(losses.values())).sum().backward()
    return losses, logs, [parameter.grad for parameter in distiller.parameters()]


@pytest.mark.parametrize("shape", SHAPES)
def test_with_all_points_seen_nothing_changes_by_a_bit(shape: str) -> None:
    """Two coordinate maps and a lookup, where they could share one."""
    taps = {"taps": ["bev1", "bev2", "neck"], "pointdistiller": {"rows": 32, "neighbours": 4}}
    config = config_of(shape, methods=list(METHODS), **taps)
    whole = thinned_batch(2.0)
    assert whole.teacher is not None
    shared = replace(whole, teacher=None)
    found, expected = step(whole, config), step(shared, config)
    assert len(found[0]) > len(METHODS)
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert any(gradient is not None for gradient in found[2])
    for a, b in zip(found[2], expected[2], strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_loss_is_that_of_a_pair_made_from_dictionaries(name: str) -> None:
    """The reference is a teacher whose features stand on the student's own coordinate map, put there place by place."""
    batch = thinned_batch(0.4)
    section = {"importance": "channel_max"} if "importance" in METHODS[name].Settings.model_fields else {}
    config = tiny_config(methods=[name], **{name: section})
    teacher, student = predictions("pillars", batch)
    small, large = tiny_networks(config)[::-1]
    distiller = Distiller(small, large, config)

    def onto_students_map(tap: Tap, own: Tap) -> SiteTap:
        assert isinstance(own, SiteTap)
        row_of = {place: row for row, place in enumerate(places(tap))}
        features = torch.stack([tap.features[row_of[place]] for place in places(own)])
        return SiteTap(type(own.tensor)(
            features, coordinate_map_key=own.key, coordinate_manager=own.tensor.coordinate_manager
        ), own.voxels)  # fmt: skip

    guide = {key: onto_students_map(tap, student.taps[key]) for key, tap in teacher.taps.items()}
    for pair in pair_taps(distiller._taps[name], teacher, student, teacher, batch):
        reference = TapPair(pair.name, guide[pair.name], student.taps[pair.name], dict(guide), batch)
        found, logs = distiller.methods[name].compare(pair)
        expected, seen = distiller.methods[name].compare(reference)
        assert torch.equal(found, expected)
        assert found > 0
        assert logs.keys() == seen.keys()
        assert all(torch.equal(logs[key], seen[key]) for key in logs)


def test_importance_is_the_teachers_from_all_its_sites() -> None:
    batch = thinned_batch(0.3)
    teacher, student = predictions("pillars", batch)
    pair = pair_taps(["bev3"], teacher, student, teacher, batch)[0]
    scores, cells = teacher.taps["scores"], {}
    for place, values in zip(places(scores), torch.sigmoid(scores.features.amax(dim=1)), strict=True):
        cell = (place[0], *(8 * (x // 8) for x in place[1:]))
        cells[cell] = max(cells.get(cell, 0.0), values.item())
    expected = [cells.get(place, 0.0) for place in places(student.taps["bev3"])]
    assert pair.importance("score").tolist() == pytest.approx(expected)


@pytest.mark.parametrize("control", ["random", "shuffled", "averaged"])
def test_controls_work_on_pairs(control: str) -> None:
    config = tiny_config(methods=["pointdistiller", "logits"], control=control)
    losses, _, gradients = step(thinned_batch(0.4), config)
    assert all(value > 0 and value.isfinite() for value in losses.values())
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_a_student_that_sees_no_point_has_no_loss() -> None:
    config = tiny_config(methods=list(METHODS))
    teacher, student = tiny_networks(config)
    losses, logs = Distiller(student, teacher, config)(thinned_batch(0.0))
    assert sum(value.item() for value in losses.values()) == 0
    assert logs == {}


def test_teachers_boxes_without_a_point_of_the_students_are_no_labels() -> None:
    batch = thinned_batch(0.05)
    random = np.random.default_rng(2)
    boxes = np.zeros((60, 7), np.float32)
    boxes[:, :3] = random.uniform([0, -3, -2.5], [6, 3, 0.5], (60, 3))
    boxes[:, 3:6], boxes[:, 6] = random.uniform(0.5, 1.5, (60, 3)), random.uniform(-3, 3, 60)
    found = [Detections(torch.tensor(boxes), torch.zeros(60, dtype=torch.int64), torch.ones(60)) for _ in SIZES]
    labelled = with_teacher_labels(batch, found, 0.5)
    for index, frame in enumerate(batch.frames):
        held = np.unique(pairs_in_boxes(frame.points, boxes)[0])
        expected = np.concatenate([boxes[held], batch.boxes[index].numpy()])
        assert labelled.boxes[index].numpy() == pytest.approx(expected)
    assert 0 < len(held) < 60


def test_who_sees_more() -> None:
    half, quarter = (FewerBeamsConfig(sensor="hdl64e", keep=keep) for keep in (32, 16))
    config = tiny_config()

    def seen(student: FewerBeamsConfig | None, teacher: FewerBeamsConfig | None, **distill: object) -> Any:
        ours, theirs = tiny_config(**distill), config.model_copy(deep=True)
        ours.data.beams, theirs.data.beams = student, teacher
        return Distiller(build_detector(ours), build_detector(theirs), ours).teacher_data

    assert seen(None, None) is None
    assert seen(half, half) is None
    assert seen(half, None, teacher_points="student") is None
    assert seen(half, None).beams is None
    assert seen(quarter, half).beams == half
    config.data.augment.beams = BeamsConfig(sensor="hdl64e")  # the teacher's own augmentation does not matter
    assert seen(None, None) is None


def test_a_detector_without_sites_is_refused_by_name() -> None:
    model = load_config("pointrcnn_simulator").model.model_dump()
    data = {"range": RANGE, "beams": {"sensor": "hdl64e", "keep": 32}}
    distill = {"methods": ["fitnets"], "taps": ["neck"]}
    student = Config.model_validate({"data": data, "model": model, "distill": distill})
    teacher = Config.model_validate({"data": data | {"beams": None}, "model": model})
    with pytest.raises(DistillError, match=r"^pointrcnn samples its points, .*set distill\.teacher_points=student"):
        Distiller(build_detector(student), build_detector(teacher), student)
    student.distill.teacher_points = "student"
    assert Distiller(build_detector(student), build_detector(teacher), student).teacher_data is None


def test_an_importance_that_compares_with_the_student_is_refused() -> None:
    config = tiny_config(methods=["similarity"], similarity={"importance": "disagreement"})
    teacher, student = tiny_networks(config)
    config = config.model_copy(deep=True)
    config.data.beams = FewerBeamsConfig(sensor="hdl64e", keep=32)
    with pytest.raises(DistillError, match=r"^distill\.similarity\.importance: .* set distill\.teacher_points=student"):
        Distiller(student, teacher, config)


def test_other_strides_are_refused_with_the_tap() -> None:
    batch = thinned_batch(0.4)
    teacher, student = predictions("pillars", batch)
    teacher.taps["bev1"] = teacher.taps["bev2"]
    with pytest.raises(DistillError, match="tap 'bev1': no site of the student"):
        pair_taps(["bev1"], teacher, student, teacher, batch)
