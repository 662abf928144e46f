"""PointPillars as for nuScenes: five columns a point, a feature pyramid, anchors of any class, velocities."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from models.frames import CLASSES, nuscenes, nuscenes_batch

from mink_pd.config import Config, load_config
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import Batch, collate
from mink_pd.distill import Distiller
from mink_pd.models import build_detector
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.heads.anchors import encode
from mink_pd.models.heads.losses import assign_targets
from mink_pd.registry import METHODS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("compression", [1, 2, 4])
def test_published_widths(compression: float) -> None:
    """Parameters of the sparse network from its layers' shapes; PointDistiller's students have 1/2 and 1/4."""
    config = load_config(ROOT / "configs" / "pointpillars_nuscenes.yaml", [f"model.compression={compression}"])
    p, a, b, c, n = {1: (64, 64, 128, 256, 256), 2: (46, 46, 90, 182, 182), 4: (32, 32, 64, 128, 128)}[compression]
    convolutions = 11 * p + 9 * (p * a + 3 * a * a + a * b + 5 * b * b + b * c + 5 * c * c)
    convolutions += (a + b + c) * n + 9 * 3 * n * n
    norms = 2 * (p + 4 * a + 6 * b + 6 * c + 6 * n)
    outputs = 8 * 10 + 8 * 7 + 8 * 2 + 8 * 2
    wanted = convolutions + norms + (n + 1) * outputs
    assert sum(weight.numel() for weight in build_detector(config).parameters()) == wanted


@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_every_output_has_its_row(form: str) -> None:
    detector, batch = build_detector(nuscenes(bev=form)), nuscenes_batch(300, 200)
    prediction = detector(batch)
    sites = len(prediction.frame)
    assert prediction.boxes.shape == prediction.anchors.shape == (sites, 4, 7)
    assert prediction.scores.shape == (sites, 4, 3)
    assert prediction.velocities.shape == (sites, 4, 2)
    if form == "dense":
        assert sites == 2 * (16**2 + 8**2 + 4**2)
    assert prediction.taps.keys() == detector.tap_channels().keys()
    for name, channels in detector.tap_channels().items():
        assert prediction.taps[name].features.shape[1] == channels
    strides = [prediction.taps[name].stride for name in ("neck", "neck2", "neck3")]
    assert strides == [2, 4, 8]
    size = prediction.anchors[:, 0, 3]  # 1.7 m long on the finest level, twice as long on the next
    assert size.unique().tolist() == pytest.approx([1.7, 3.4, 6.8])
    spacing = prediction.anchors[size > 6.7][:, 0, :2]
    assert ((spacing + 3.2) % 1.6 - 0.8).abs().max() < 1e-5  # centres of cells of 1.6 m


@torch.no_grad()
def test_the_fifth_column_counts() -> None:
    detector, batch = build_detector(nuscenes()).eval(), nuscenes_batch(200)
    before = detector(batch).taps["pillars"].features
    batch.points[:, 4] += 0.5
    assert not torch.allclose(detector(batch).taps["pillars"].features, before)


def test_unknown_velocities_teach_nothing() -> None:
    torch.manual_seed(0)
    detector, batch = build_detector(nuscenes()), nuscenes_batch(300)
    prediction = detector(batch)
    prediction.velocities.retain_grad()
    detector.loss(prediction, batch)["velocity"].backward()
    targets = assign_targets(prediction, batch, detector.anchor_kinds, any_class=True)
    moving = targets.boxes[:, 3] > 1  # the car
    assert moving.any()
    assert (~moving).any()
    gradient = prediction.velocities.grad[targets.site, targets.anchor]
    assert (gradient[moving] != 0).all()
    assert (gradient[~moving] == 0).all()
    assert torch.count_nonzero(prediction.velocities.grad) == 2 * moving.sum()


def test_velocity_term_by_hand() -> None:
    """All predictions zero: smooth L1 of 4 and 1 m/s, over the frame's positive anchors, times its weight."""
    detector, batch = build_detector(nuscenes()), nuscenes_batch(300)
    prediction = detector(batch)
    prediction.velocities = torch.zeros_like(prediction.velocities)
    targets = assign_targets(prediction, batch, detector.anchor_kinds, any_class=True)
    moving = int((targets.boxes[:, 3] > 1).sum())
    wanted = 0.2 * moving * ((4 - 1 / 18) + (1 - 1 / 18)) / len(targets.site)
    assert float(detector.loss(prediction, batch)["velocity"]) == pytest.approx(wanted, rel=1e-5)


def test_nothing_in_range() -> None:
    detector, batch = build_detector(nuscenes()).eval(), nuscenes_batch(5)
    batch.points[:, 0] += 100
    (found,) = detector.detect(detector(batch))
    assert found.boxes.shape == (0, 7)
    assert found.velocities is not None
    assert found.velocities.shape == (0, 2)
    assert all(torch.isfinite(term) for term in detector.loss(detector(batch), batch).values())


def test_velocities_need_a_data_set_that_has_them() -> None:
    with pytest.raises(ValueError, match=r"model\.head\.velocity needs a data set with velocities"):
        Config.model_validate({"model": {"head": {"velocity": True}}})
    with pytest.raises(ValueError, match="one for each of the neck's 3 levels"):
        nuscenes(head={"any_class": True, "scales": [1.0, 2.0]})


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_distils_it(method: str) -> None:
    """From a dense teacher, at half its size, with all columns of its head."""
    config = nuscenes(compression=2.0)
    config.distill.methods = [method]
    teacher, student = build_detector(nuscenes(bev="dense")), build_detector(config)
    batch = nuscenes_batch(200, 150)
    losses, _ = Distiller(student, teacher, config)(batch)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert len(losses) > 4  # class, box, direction, velocity, and the method's


def real_frame(folder: Path) -> Frame:
    """The keyframe as one sweep of no lag."""
    points = np.fromfile(folder / "LIDAR_TOP.pcd.bin", np.float32).reshape(-1, 5)
    points[:, 3] /= 255
    points[:, 4] = 0
    labels = json.loads((folder / "annotations.json").read_text())["instances"]
    boxes, velocities = (np.array([one[key] for one in labels], np.float32) for key in ("box", "velocity"))
    return Frame("keyframe", points, boxes, np.array([one["name"] for one in labels]), velocities=velocities)


@pytest.fixture
def keyframe(shared: Callable[[str], Path]) -> Frame:
    return real_frame(shared("nuscenes_real"))


def written(detector: AnchorDetector, batch: Batch) -> object:
    """A prediction that says at each positive anchor what its object is, and nothing elsewhere."""
    prediction = detector(batch)
    targets = assign_targets(prediction, batch, detector.anchor_kinds, any_class=True)
    site, anchor = targets.site, targets.anchor
    prediction.scores = torch.full_like(prediction.scores, -20)
    prediction.scores[site, anchor, targets.labels[site, anchor]] = 5
    prediction.boxes[site, anchor] = encode(targets.boxes, prediction.anchors[site, anchor])
    halves = torch.remainder(targets.boxes[:, 6] - detector.settings.head.direction_offset, 2 * torch.pi) >= torch.pi
    prediction.directions[site, anchor] = torch.stack([-1.0 * halves, 1.0 * halves], dim=1)
    prediction.velocities[site, anchor] = targets.velocities
    return prediction


@torch.no_grad()
def test_what_the_head_should_say_decodes_to_the_real_labels(keyframe: Frame) -> None:
    """Points of a real keyframe through the published geometry; its labelled objects come back exactly."""
    config = load_config(ROOT / "configs" / "pointpillars_nuscenes.yaml", ["model.compression=16"])
    detector = build_detector(config).eval()
    assert isinstance(detector, AnchorDetector)
    batch = collate([keyframe], config.data.classes)
    (found,) = detector.detect(written(detector, batch))
    inside = (batch.boxes[0][:, :2].abs() < 49).all(dim=1)
    rows = torch.nonzero(inside)[:, 0]
    boxes = batch.boxes[0][rows]
    assert len(rows) > 45
    distance, at = (found.boxes[:, None, :3] - boxes[:, :3]).norm(dim=2).min(dim=0)  # (rows,) each
    assert float(distance.max()) < 1e-3
    same = found.boxes[at]
    assert torch.equal(found.labels[at], batch.labels[0][rows])
    torch.testing.assert_close(same[:, :6], boxes[:, :6], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.cos(same[:, 6] - boxes[:, 6]), torch.ones(len(rows)), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.velocities[at], batch.velocities[0][rows], equal_nan=True)


def test_it_fits_a_real_keyframe(keyframe: Frame) -> None:
    """A short fit on the keyframe's nearer part: its car, its truck and its pedestrians, and how they move."""
    model = {
        "voxel_size": (0.4, 0.4, 8.0), "pillar_channels": 16, "channels": [16, 24, 32], "layers": [1, 1, 1],
        "neck_channels": 24, "nms": {"score": 0.3},
    }  # fmt: skip
    config = nuscenes((-16.0, -24.0, -5.0, 16.0, 24.0, 3.0), **model)
    torch.manual_seed(0)
    detector = build_detector(config)
    batch = collate([keyframe], CLASSES)
    inside = (batch.boxes[0][:, :2].abs() < torch.tensor([16.0, 24.0])).all(dim=1)
    batch.boxes, batch.labels = [batch.boxes[0][inside]], [batch.labels[0][inside]]
    batch.velocities = [batch.velocities[0][inside]]
    steps = 70
    optimiser = torch.optim.AdamW(detector.parameters(), lr=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.02, total_steps=steps)
    for _ in range(steps):
        optimiser.zero_grad()
        sum(detector.loss(detector(batch), batch).values()).backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        (found,) = detector.detect(detector(batch))  # with the batch's own statistics: the running ones lag behind
    assert len(batch.boxes[0]) == 9
    for box, label, velocity in zip(batch.boxes[0], batch.labels[0], batch.velocities[0], strict=True):
        distance = (found.boxes[:, :2] - box[:2]).norm(dim=1) + 100 * (found.labels != label)
        assert float(distance.min()) < 0.2
        torch.testing.assert_close(found.velocities[distance.argmin()], velocity, atol=0.2, rtol=0.05)
