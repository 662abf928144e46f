"""CenterPoint's parts against dense convolutions and loops, and the whole on the inputs that break others."""

import math

import pytest
import torch
from models.frames import batch, centerpoint, centerpoint_nuscenes, centerpoint_voxels, nuscenes_batch
from torch import Tensor, nn
from torch.nn import functional

from mink_pd.config import Config
from mink_pd.models import build_detector
from mink_pd.models.heads.center_decode import detect
from mink_pd.models.heads.center_head import CenterHead
from mink_pd.models.layers.bev import SparseBev
from mink_pd.models.layers.necks import DenseSecondNeck
from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.models.layers.sparse_encoder import ResidualBlock
from mink_pd.sparse import Voxels, voxelise

FORMS = [(make, bev) for make in (centerpoint, centerpoint_voxels) for bev in ("sparse", "dense")]


def some_voxels(points: int, cells: int, dimensions: int = 2) -> Voxels:
    torch.manual_seed(0)
    cloud = torch.rand(points, 4) * torch.tensor([cells, cells, cells if dimensions == 3 else 1, 1])
    size = (1, 1, 1 if dimensions == 3 else cells)
    bounds = (0, 0, 0, cells, cells, cells)
    return voxelise(cloud, torch.arange(points) % 2, 2, size, bounds, dimensions)


def shake(module: nn.Module) -> None:
    """Norms that are not the identity."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 1.5)


def image_of(x, size: int, frames: int = 2) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
    """A sparse tensor as a map (B, C, y, x), and where its sites are (B, 1, y, x)."""
    frame, column, row = x.C.long().t()
    stride = x.tensor_stride[0]
    image, mask = torch.zeros(frames, x.F.shape[1], size, size), torch.zeros(frames, 1, size, size)
    image[frame, :, row // stride, column // stride] = x.F
    mask[frame, :, row // stride, column // stride] = 1
    return image, mask


def dense_convolution(image: Tensor, layer: nn.Module) -> Tensor:
    """The map through the dense form of a sparse convolution of kernel 3."""
    kernel = layer.kernel.view(3, 3, *layer.kernel.shape[1:]).permute(3, 2, 0, 1)
    bias = None if layer.bias is None else layer.bias.flatten()
    return functional.conv2d(image, kernel, bias, padding=1)


def dense_block(image: Tensor, mask: Tensor, block: nn.Module) -> Tensor:
    norm = block.norm
    assert norm.eps == 1e-5  # published heads have torch's default
    image = dense_convolution(image, block.convolution)
    image = functional.batch_norm(image, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)
    return image.relu() * mask


@torch.no_grad()
def test_sparse_head_is_the_dense_one_masked_to_its_sites() -> None:
    voxels = some_voxels(60, 12)
    head = CenterHead(6, 8, [[2], [1, 0]], dense=False, velocity=True, iou=True).eval()
    shake(head)
    x = voxels.tensor(torch.randn(len(voxels), 6))
    level = type("Level", (), {"neck": x, "image": None, "coordinates": x.C, "stride": 1, "rows": slice(None)})
    prediction = head(level, voxels)
    image, mask = image_of(x, 12)
    shared = dense_block(image, mask, head.shared)
    frame, column, row = x.C.long().t()
    parts = []
    for branches in head.branches:
        hidden = {name: dense_block(shared, mask, branch[0]) for name, branch in branches.items()}
        parts.append({name: dense_convolution(hidden[name], branch[1].convolution)[frame, :, row, column]
                      for name, branch in branches.items()})  # fmt: skip
    wanted = torch.stack([parts[1]["heatmap"][:, 1], parts[1]["heatmap"][:, 0], parts[0]["heatmap"][:, 0]], dim=1)
    torch.testing.assert_close(prediction.scores, wanted, atol=1e-5, rtol=1e-4)
    for task, part in enumerate(parts):
        box = torch.cat([part[name] for name in ("offset", "height", "size", "yaw")], dim=1)
        torch.testing.assert_close(prediction.boxes[:, task], box, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(prediction.velocities[:, task], part["velocity"], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(prediction.ious[:, task], part["iou"][:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(prediction.corners, x.C[:, 1:].float())


@torch.no_grad()
def test_neck_at_the_second_stage_is_the_published_one() -> None:
    """On a full grid the sparse neck's strided and spread convolutions are torch's dense ones."""
    torch.manual_seed(0)
    cells = torch.cartesian_prod(torch.arange(16.0), torch.arange(16.0)) + 0.5
    cloud = torch.cat([cells, torch.zeros(256, 2)], dim=1)
    voxels = voxelise(cloud, torch.zeros(256).long(), 1, (1, 1, 1), (0, 0, 0, 16, 16, 1), 2)
    net = SparseBev([3, 4, 5, 6], [1, 2, 2], [0, 0, 0], 4, neck_stage=2).eval()
    features = net(voxels.tensor(torch.randn(256, 3)), voxels)
    (level,) = features.levels
    assert level.stride == 2
    maps = [image_of(stage, 16 // stage.tensor_stride[0], 1)[0] for stage in features.stages]
    down, same, up = net.neck
    wanted = [
        functional.conv2d(maps[0], down.convolution.kernel.view(2, 2, 4, 4).permute(3, 2, 0, 1), stride=2),
        dense_convolution(maps[1], same.convolution),
        functional.conv_transpose2d(maps[2], up.convolution.kernel.view(2, 2, 6, 4).permute(2, 3, 0, 1), stride=2),
    ]
    image = torch.cat([block.norm(m.permute(0, 2, 3, 1).flatten(0, 2)).relu() for block, m in
                       zip(net.neck, wanted, strict=True)], dim=1)  # fmt: skip
    _, column, row = level.coordinates.long().t()
    torch.testing.assert_close(level.cells, image[row // 2 * 8 + column // 2], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_dense_neck_at_the_second_stage_has_published_layers() -> None:
    neck = DenseSecondNeck([4, 5, 6], 3, [1, 2, 4], stage=2).eval()
    kinds = [
        (type(block.convolution).__name__, block.convolution.kernel_size, block.convolution.stride) for block in neck
    ]
    assert kinds == [
        ("Conv2d", (2, 2), (2, 2)),
        ("ConvTranspose2d", (1, 1), (1, 1)),
        ("ConvTranspose2d", (2, 2), (2, 2)),
    ]
    maps = [torch.randn(2, c, size, size) for c, size in ((4, 8), (5, 4), (6, 2))]
    assert neck(maps)[0].shape == (2, 9, 4, 4)


@torch.no_grad()
@pytest.mark.parametrize("empty_slots", [False, True])
def test_two_pillar_layers_by_a_loop(empty_slots: bool) -> None:
    """Points without intensity and height of the centre, as Autoware's; every slot by itself, as published code."""
    voxels = some_voxels(160, 6)
    slots = 4 if empty_slots else None
    net = PillarFeatureNet(6, 0.5, slots, empty_slots, 4, layers=[8], intensity=False, centre_height=False).eval()
    shake(net)
    features = net(voxels)
    layer = net.hidden[0]
    counts = voxels.counts.tolist()
    assert min(counts) < 4 < max(counts)
    for row in range(len(voxels)):
        points = voxels.points[voxels.rows == row][:slots]
        centre = voxels.centres(voxels.coordinates[[row]], 1)[0]
        xyz = points[:, :3]
        x = torch.cat([xyz, xyz - xyz.mean(dim=0), xyz[:, :2] - centre], dim=1)  # (n, 8)
        if empty_slots:
            x = functional.pad(x, (0, 0, 0, 4 - len(x)))
        x = layer.norm(x @ layer.linear.weight.t()).relu()  # (slots, 4)
        x = torch.cat([x, x.amax(dim=0).expand_as(x)], dim=1)
        wanted = net.norm(x @ net.linear.weight.t()).relu().amax(dim=0)
        torch.testing.assert_close(features[row], wanted, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_residual_block_is_dense_convolutions_at_its_sites() -> None:
    voxels = some_voxels(90, 6, dimensions=3)
    block = ResidualBlock(5).eval()
    shake(block)
    x = voxels.tensor(torch.randn(len(voxels), 5))
    frame, cx, cy, cz = x.C.long().t()
    grid, mask = torch.zeros(2, 5, 6, 6, 6), torch.zeros(2, 1, 6, 6, 6)
    grid[frame, :, cz, cy, cx], mask[frame, :, cz, cy, cx] = x.F, 1.0
    y = grid
    for number, part in enumerate((block.first, block.second)):
        kernel = part.convolution.kernel.view(3, 3, 3, 5, 5).permute(4, 3, 0, 1, 2)
        y = functional.conv3d(y, kernel, padding=1)
        norm = part.norm
        y = functional.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        y = (y if number else y.relu()) * mask
    wanted = (y + grid).relu()[frame, :, cz, cy, cx]
    torch.testing.assert_close(block(x).F, wanted, atol=1e-5, rtol=1e-4)
    with torch.enable_grad():  # the other path of the blocks
        torch.testing.assert_close(block(x).F, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("make", "bev"), FORMS)
def test_frames_do_not_mix_and_gradients_are_finite(make, bev: str) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    detector = build_detector(make(bev=bev))
    inputs = batch(300, 0, 200)
    sum(detector.loss(detector(inputs), inputs).values()).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    detector.eval()
    with torch.no_grad():
        together, alone = detector(batch(300, 300)), detector(batch(300))
        rows = {tuple(c): row for row, c in enumerate(together.coordinates.tolist())}
        order = [rows[tuple(c)] for c in alone.coordinates.tolist()]
        assert len(order) == int((together.frame == 0).sum())
        torch.testing.assert_close(together.scores[order], alone.scores)
        torch.testing.assert_close(together.boxes[order], alone.boxes)


@pytest.mark.parametrize(("make", "bev"), FORMS)
def test_nothing_in_range_gives_no_boxes_and_a_loss_that_trains(make, bev: str) -> None:  # type: ignore[no-untyped-def]
    detector = build_detector(make(bev=bev))
    inputs = batch(0, 0)
    prediction = detector(inputs)
    assert [len(found.boxes) for found in detector.detect(prediction)] == [0, 0]
    loss = sum(detector.loss(prediction, inputs).values())
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("bev", ["sparse", "dense"])
def test_it_overfits_one_frame(bev: str) -> None:
    torch.manual_seed(0)
    detector = build_detector(centerpoint(bev=bev, layers=[0, 0, 0], loss={"box": 2.0}))
    inputs = batch(500)
    optimiser = torch.optim.AdamW(detector.parameters(), 2e-2)
    for step in range(100):
        optimiser.param_groups[0]["lr"] = 2e-2 if step < 70 else 4e-3
        optimiser.zero_grad()
        sum(detector.loss(detector(inputs), inputs).values()).backward()
        optimiser.step()
    found = detector.detect(detector(inputs))[0]
    assert found.labels[:2].sort().values.tolist() == [0, 1]
    order = found.labels[:2].argsort()
    assert (found.boxes[:2][order] - inputs.boxes[0]).abs().max() < 0.3
    assert len(found.boxes) < 5 or found.scores[2] < found.scores[1]


@torch.no_grad()
def test_detections_by_hand() -> None:
    """The best class of a site within each task, suppression over the task's classes, the rectified score."""
    detector = build_detector(centerpoint_nuscenes(bev="dense", head={"channels": 8, "velocity": True, "iou": True}))
    prediction = detector.eval()(nuscenes_batch(100))
    sites = len(prediction.scores)
    prediction.scores = torch.full((sites, 3), -9.0)
    prediction.ious = torch.ones(sites, 2)
    prediction.boxes[:, :, :2], prediction.boxes[:, :, 3:6] = 0.5, math.log(0.6)
    prediction.scores[3, 0], prediction.scores[3, 1], prediction.scores[3, 2] = 2.0, 1.0, 0.5  # car, truck, pedestrian
    prediction.scores[4, 1] = 1.5  # a truck 0.8 m beside
    prediction.ious[3, 1] = 0.0  # half the overlap
    settings, head = detector.settings.nms, detector.settings.head
    settings.kind, settings.radius = "circle", [0.5, 1.0]
    (found,) = detect(prediction, detector.tasks, settings, head)
    car = math.sqrt(0.5 / (1 + math.exp(-2)))
    assert found.labels.tolist() == [1, 2]
    assert found.scores.tolist() == pytest.approx([math.sqrt(1 / (1 + math.exp(-x))) for x in (1.5, 0.5)])
    settings.radius = [0.5]
    (found,) = detect(prediction, detector.tasks, settings, head)
    assert found.labels.tolist() == [1, 2, 0]
    assert found.scores[2].item() == pytest.approx(car)
    assert torch.equal(found.velocities[2], prediction.velocities[3, 1])
    torch.testing.assert_close(found.boxes[2, :2], prediction.corners[3] + 0.4)
    settings.kind = "rotated"
    assert len(detect(prediction, detector.tasks, settings, head)[0].boxes) == 3


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ({"tasks": [["Car"], ["Pedestrian"]]}, r"model\.tasks must hold each of data\.classes once"),
        ({"tasks": [["Car", "Car"], ["Pedestrian", "Cyclist"]]}, "once"),
        ({"head": {"velocity": True}}, r"model\.head\.velocity needs"),
        ({"neck": "fpn"}, r"model\.neck=fpn"),
        ({"nms": {"kind": "circle", "radius": [1.0, 2.0]}}, r"model\.nms\.radius"),
        ({"neck_stage": 4}, "neck_stage must be one of the 3 stages"),
    ],
)
def test_settings_that_do_not_fit_are_refused(model: dict[str, object], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        Config.model_validate({"model": {"name": "centerpoint_pillars"} | model})
