"""PointRCNN whole: sizes as published, shared samples, empty frames, and a frame that it learns by heart."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from random_norms import randomise_norm

from mink_pd.boxes.iou import iou_3d
from mink_pd.config import Config, load_config
from mink_pd.config.models import NMSConfig
from mink_pd.config.pointrcnn import PointRCNNConfig, RoIConfig, SetAbstractionConfig
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import Batch
from mink_pd.distill import Distiller
from mink_pd.distill.inspect import inspect_importance
from mink_pd.errors import ConfigError, DistillError
from mink_pd.models import build_detector
from mink_pd.models.cost import count_multiply_adds
from mink_pd.models.detectors.pointrcnn import PointRCNN
from mink_pd.models.whole import whole_work

STEPS = 120
CAR = [8.0, 1.0, -0.9, 3.9, 1.6, 1.5, 0.4]


def stage(points: int, radii: list[float], neighbours: int, *channels: int) -> SetAbstractionConfig:
    return SetAbstractionConfig(
        points=points, radii=radii, neighbours=[neighbours] * len(radii), channels=[list(channels)] * len(radii)
    )


def config(coder: str = "bins", compression: float = 1) -> Config:
    roi = RoIConfig(
        points=64, channels=[32, 32], head_channels=[32, 32], sampled=16,
        stages=[stage(16, [0.6], 16, 32, 32), stage(0, [9.0], 16, 32, 64)],
    )  # fmt: skip
    result = Config()
    result.model = PointRCNNConfig(
        compression=compression, box_coder=coder, points=256, head_channels=[32, 32], roi=roi,
        propagation=[[64, 64], [64, 64]],
        stages=[stage(64, [0.5, 1.0], 16, 16, 32), stage(16, [1.5, 4.0], 16, 32, 64)],
    )  # fmt: skip
    result.data.range = (0.0, -8.0, -3.0, 16.0, 8.0, 1.0)
    return result


def batch(*sizes: int) -> Batch:
    """A plane with a car on it in every frame that has points."""
    random = np.random.default_rng(0)
    clouds = []
    for n in sizes:
        ground = random.uniform([0, -8, -1.8, 0], [16, 8, -1.7, 1], (n // 2, 4))
        local = random.uniform([-1.9, -0.8, -0.7, 0], [1.9, 0.8, 0.7, 1], (n - n // 2, 4))
        local[:, :2] = local[:, :2] @ np.array([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]])
        clouds.append(np.concatenate([ground, local + np.array([*CAR[:3], 0])]).astype(np.float32))
    boxes = [torch.tensor([CAR])[: int(n > 0)] for n in sizes]
    return Batch(
        torch.from_numpy(np.concatenate(clouds)),
        torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
        boxes,
        [torch.zeros(len(b), dtype=torch.int64) for b in boxes],
        [
            Frame(str(i), cloud, b.numpy(), np.array(["Car"] * len(b)))
            for i, (cloud, b) in enumerate(zip(clouds, boxes, strict=True))
        ],
    )


def published(entries: dict[str, list[int]]) -> list[tuple[int, ...]]:
    """Shapes of linear maps, norms and biases, but for biases right before a norm, which do nothing."""
    kept = []
    for name, shape in entries.items():
        before_norm = name.endswith("conv.bias") and name.replace("conv.bias", "bn.weight") in entries
        unused = name.startswith(("teacher_gcn", "student_gcn")) or name.endswith("num_batches_tracked")
        if not (before_norm or unused):
            kept.append(tuple(size for i, size in enumerate(shape) if i < 2 or size > 1))
    return sorted(kept)


@pytest.mark.parametrize(
    ("name", "compression"),
    [("mmdet3d_1x_point_rcnn_kitti-3d-3class", 1), ("pointdistiller_point_rcnn_3class_teacher", 1),
     ("pointdistiller_point_rcnn_3class_student_8x", 7.84), ("pointdistiller_point_rcnn_3class_student_16x", 16)],
)  # fmt: skip
def test_sizes_are_the_published_ones(name: str, compression: float, shared: Callable) -> None:
    entries = json.loads((shared("checkpoint_cases") / "mmdet3d" / f"{name}.json").read_text())["entries"]
    settings = Config()
    settings.model = PointRCNNConfig(compression=compression, box_coder="residual")
    ours = {k: v for k, v in build_detector(settings).state_dict().items() if not k.endswith("num_batches_tracked")}
    assert sorted(tuple(v.shape) for v in ours.values()) == published(entries)


def test_batch_norms_have_the_published_epsilons() -> None:
    """1e-3 in the set abstractions of the backbone, 1e-5 elsewhere (checkpoint_cases/mmdet3d)."""
    settings = Config()
    settings.model = PointRCNNConfig()
    norms = {n: m.eps for n, m in build_detector(settings).named_modules() if isinstance(m, torch.nn.BatchNorm1d)}
    assert all(eps == (1e-3 if name.startswith("backbone.down.") else 1e-5) for name, eps in norms.items())
    assert len(norms) == 24 + 8 + 4 + 9 + 4


def test_compression_divides_parameters() -> None:
    settings = Config()
    settings.model = PointRCNNConfig()
    counts = []
    for compression in (1, 2, 4, 8, 16):
        settings.model.compression = compression
        counts.append(sum(p.numel() for p in build_detector(settings).parameters()))
    for compression, count in zip((2, 4, 8, 16), counts[1:], strict=True):
        assert count * compression == pytest.approx(counts[0], rel=0.12)


@pytest.mark.parametrize(("first", "second"), [("bins", None), ("residual", None), ("bins", "residual")])
def test_it_overfits_one_frame(first: str, second: Literal["residual"] | None) -> None:
    torch.manual_seed(0)
    settings = config(first)
    assert isinstance(settings.model, PointRCNNConfig)
    settings.model.roi.box_coder = second
    detector = build_detector(settings)
    inputs = batch(400)
    optimiser = torch.optim.AdamW(detector.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=STEPS, pct_start=0.2)
    for _ in range(STEPS):
        optimiser.zero_grad()
        sum(detector.loss(detector(inputs), inputs).values()).backward()
        optimiser.step()
        schedule.step()
    found = detector.eval().detect(detector(inputs))[0]
    assert found.labels[0] == 0
    # After so few steps rounding (threads, processor) decides how well it fits: 0.43 was seen.
    assert iou_3d(found.boxes[:1].numpy(), inputs.boxes[0].numpy())[0, 0] > 0.3


@torch.no_grad()
def test_scores_of_one_stage_or_both() -> None:
    torch.manual_seed(0)
    detector = build_detector(config()).eval()
    assert isinstance(detector, PointRCNN)
    detector.settings.nms = NMSConfig(score=0, iou=1, after=1000)  # every region is a detection
    prediction = detector(batch(400))
    regions = detector.propose(prediction)
    own = detector.refine(prediction, regions)[0].sigmoid()
    for score, wanted in (("second", own), ("both", (own * regions.scores).sqrt())):
        detector.settings.roi.score = score  # type: ignore[assignment]
        torch.testing.assert_close(detector.detect(prediction)[0].scores, wanted.sort(descending=True).values)


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    detector = build_detector(config())
    inputs = batch(400, 300)
    losses = detector.loss(detector(inputs), inputs)
    assert set(losses) == {"point", "point_box", "region", "region_box"}
    sum(losses.values()).backward()
    assert [name for name, p in detector.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_the_second_stage_leaves_the_first_alone() -> None:
    torch.manual_seed(0)
    detector = build_detector(config())
    inputs = batch(400)
    losses = detector.loss(detector(inputs), inputs)
    (losses["region"] + losses["region_box"]).backward()
    assert all(p.grad is None for p in (*detector.backbone.parameters(), *detector.head.parameters()))


@torch.no_grad()
def test_detections_are_the_same_alone_and_in_a_batch() -> None:
    torch.manual_seed(0)
    detector = build_detector(config()).eval()
    detector.config.model.nms.score = 0.0
    together = detector.detect(detector(batch(400, 0, 300)))
    first = batch(400)
    alone = detector.detect(detector(first))
    torch.testing.assert_close(together[0].boxes, alone[0].boxes, rtol=1e-3, atol=1e-3)
    assert len(together[1].boxes) == 0
    assert len(together[2].boxes) > 0


@pytest.mark.parametrize("heights", ["centre", "bottom"])
@torch.no_grad()
def test_compiled_layers_give_what_plain_ones_do(heights: Literal["centre", "bottom"]) -> None:
    """Also in regions of few points, which plain layers repeat, and in one that has none."""
    torch.manual_seed(0)
    detector = build_detector(config()).eval()
    assert isinstance(detector, PointRCNN)
    detector.settings.roi.heights = heights
    for norm in detector.modules():
        if isinstance(norm, torch.nn.BatchNorm1d):
            randomise_norm(norm)
    inputs = batch(400, 0, 300)
    sample = detector.shared_input(inputs)
    ours = detector(inputs, sample)
    with whole_work():
        plain = detector(inputs, sample)
    for name in ("features", "scores", "codes"):
        torch.testing.assert_close(getattr(ours, name), getattr(plain, name), rtol=1e-4, atol=1e-4)
    regions = detector.propose(plain)
    regions.boxes[0, :3] = 500.0
    refined = detector.refine(plain, regions)
    with whole_work():
        wanted = detector.refine(plain, regions)
    assert len(wanted[0]) == len(regions)
    for one, other in zip(refined, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_detections_depend_on_the_cloud_and_not_on_its_name() -> None:
    torch.manual_seed(0)
    detector = build_detector(config()).eval()
    detector.config.model.nms.score = 0.0
    named = batch(400)
    renamed = replace(named, frames=[replace(named.frames[0], id="another")])
    ours, theirs = (detector.detect(detector(one))[0] for one in (named, renamed))
    assert torch.equal(ours.boxes, theirs.boxes)
    assert torch.equal(ours.scores, theirs.scores)


def test_nothing_in_range_gives_no_boxes_and_a_loss() -> None:
    detector = build_detector(config())
    inputs = batch(0, 0)
    prediction = detector(inputs)
    assert [len(d.boxes) for d in detector.detect(prediction)] == [0, 0]
    assert sum(float(x) for x in detector.loss(prediction, inputs).values()) == 0


def test_teacher_and_student_see_the_same_points() -> None:
    torch.manual_seed(0)
    settings = config(compression=4)
    settings.distill.pointdistiller = settings.distill.pointdistiller.model_copy(
        update={"taps": ["neck"], "rows": 40, "neighbours": 6, "importance": "channel_max"}
    )
    teacher, student = build_detector(config()), build_detector(settings)
    assert isinstance(teacher, PointRCNN)
    calls = []
    teacher.regions.register_forward_hook(lambda *_: calls.append("teacher"))
    student.regions.register_forward_hook(lambda *_: calls.append("student"))
    distiller = Distiller(student, teacher, settings)
    losses, logs = distiller(batch(300, 0, 200))
    sum(losses.values()).backward()
    assert {"pointdistiller_neck", "point", "region_box"} < set(losses)
    assert 0 <= float(logs["pointdistiller/neck/inside"]) <= 1
    assert calls == ["student"]  # the teacher's second stage is not paid for
    other = config()
    other.model = other.model.model_copy(update={"points": 128})
    with pytest.raises(DistillError, match=r"model\.geometry"):
        Distiller(build_detector(other), teacher, settings)


def test_importance_is_shown_on_the_points() -> None:
    frame = batch(300).frames[0]
    for kind in ("score", "channel_max", "points"):
        view = inspect_importance(build_detector(config()), frame, "neck", kind, rows=5)  # type: ignore[arg-type]
        assert view.points.shape == (256, 4)
        assert view.importance.shape == (256,)
        assert view.selected.shape == (5, 3)
        assert {tuple(p) for p in view.selected} <= {tuple(p[:3]) for p in view.points}


@torch.no_grad()
def test_multiply_adds_by_hand() -> None:
    """256 points -> 64 -> 16, and back; regions: the settings of ``config``."""
    detector = build_detector(config()).eval()
    inputs = batch(400)
    regions = len(detector.propose(detector(inputs)))
    first = 2 * ((256 * 4 + 64 * 3) * 16 + 64 * 16 * 16 * 32)  # two radii: projected rows and centres; the rest
    second = 2 * ((64 * 67 + 16 * 3) * 32 + 16 * 16 * 32 * 64)
    up = (16 * 128 + 64 * 64 + 64 * 3) * 64 + 64 * 64 * 64 + (64 * 64 + 256 * 1 + 256 * 3) * 64 + 256 * 64 * 64
    heads = 256 * (2 * (64 * 32 + 32 * 32) + 32 * (3 + 76))
    lift = 64 * (5 * 32 + 32 * 32 + 96 * 32)
    inner = (64 * 35 + 16 * 3) * 32 + 16 * 16 * 32 * 32 + (16 * 35 + 3) * 32 + 16 * 32 * 64
    last = 2 * (64 * 32 + 32 * 32) + 32 * (1 + 46)
    assert count_multiply_adds(detector, inputs) == first + second + up + heads + regions * (lift + inner + last)


def test_settings_that_do_not_fit_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "a.yaml"
    file.write_text("model: {name: pointrcnn, points: 1000}")
    with pytest.raises(ConfigError, match="points of the stages must fall"):
        load_config(file)
    file.write_text("model: {name: pointrcnn, propagation: [[8]]}")
    with pytest.raises(ConfigError, match="an entry for each of stages"):
        load_config(file)
