"""The detector against dense convolutions, and on the inputs that break others."""

import pytest
import torch
import torch.nn.functional as F
from models.frames import batch, of_clouds, pointpillars

from mink_pd.models import build_detector
from mink_pd.models.cost import count_multiply_adds
from mink_pd.sparse import ConvBlock


def dense(tensor, frames: int, cells: int) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """Sparse features as an image (frames, C, y, x)."""
    stride = tensor.tensor_stride[0]
    image = torch.zeros(frames, tensor.F.shape[1], cells // stride, cells // stride)
    b, x, y = tensor.C.long().t()
    image[b, :, y // stride, x // stride] = tensor.F
    return image


def dense_block(block: ConvBlock, image: torch.Tensor, stride: int) -> torch.Tensor:
    """The same block with torch's dense convolution; the kernel has x running fastest."""
    kernel = block.convolution.kernel  # (9, C_in, C_out)
    weight = kernel.view(3, 3, *kernel.shape[1:]).permute(3, 2, 0, 1)  # (C_out, C_in, y, x)
    return F.conv2d(image, weight, stride=stride, padding=1)


@torch.no_grad()
def test_backbone_against_dense_convolutions() -> None:
    detector = build_detector(pointpillars()).eval()
    inputs = batch(400, 300)
    voxels = detector.shared_input(inputs)
    x = voxels.tensor(detector.encoder(voxels))
    for stage in detector.bev.backbone:
        for index, block in enumerate(stage):
            y = block(x)
            image = dense_block(block, dense(x, 2, 32), stride=2 if index == 0 else 1)
            stride = y.tensor_stride[0]
            b, cx, cy = y.C.long().t()
            wanted = torch.relu(block.norm(image[b, :, cy // stride, cx // stride]))
            torch.testing.assert_close(y.F, wanted, atol=1e-5, rtol=1e-4)
            x = y


@torch.no_grad()
def test_pillar_features_against_a_loop() -> None:
    detector = build_detector(pointpillars()).eval()
    voxels = detector.shared_input(batch(200))
    net = detector.encoder
    for row in range(0, len(voxels), 17):
        points = voxels.points[voxels.rows == row]
        x, y = (voxels.coordinates[row, 1:] * 0.2 + 0.1 + torch.tensor([0.0, -3.2])).tolist()
        centre = torch.tensor([x, y, -1.0])
        each = torch.cat([points, points[:, :3] - points[:, :3].mean(dim=0), points[:, :3] - centre], dim=1)
        wanted = torch.relu(net.norm(each @ net.linear.weight.T)).amax(dim=0)
        torch.testing.assert_close(net(voxels)[row], wanted, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_bounded_pillars_with_empty_slots_against_a_loop() -> None:
    detector = build_detector(pointpillars(voxel_size=(0.8, 0.8, 4.0), max_points=4, empty_slots=True)).eval()
    voxels = detector.shared_input(batch(200, 90))
    net = detector.encoder
    for module in (net.norm, net.linear):
        torch.nn.init.normal_(module.weight)
    torch.nn.init.normal_(net.norm.bias)
    features = net(voxels)
    counts = [int((voxels.rows == row).sum()) for row in range(len(voxels))]
    assert min(counts) < 4 < max(counts)
    for row in range(len(voxels)):
        points = voxels.points[voxels.rows == row][:4]
        centre = torch.cat([voxels.centres(voxels.coordinates[[row]], 1)[0], torch.tensor([-1.0])])
        each = torch.cat([points, points[:, :3] - points[:, :3].mean(dim=0), points[:, :3] - centre], dim=1)
        slots = torch.nn.functional.pad(each, (0, 0, 0, 4 - len(points)))  # zeros
        wanted = torch.relu(net.norm(slots @ net.linear.weight.t())).amax(dim=0)
        torch.testing.assert_close(features[row], wanted, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_neck_covers_every_cell_around_the_points() -> None:
    detector = build_detector(pointpillars()).eval()
    inputs = batch(60)
    prediction = detector(inputs)
    sites = {tuple(c) for c in (prediction.taps["neck"].coordinates[:, 1:] // 2).tolist()}
    occupied = {tuple(c) for c in (detector.shared_input(inputs).coordinates[:, 1:] // 8).tolist()}
    assert sites == {(4 * x + i, 4 * y + j) for x, y in occupied for i in range(4) for j in range(4)}


@torch.no_grad()
def test_frames_of_a_batch_do_not_mix() -> None:
    detector = build_detector(pointpillars()).eval()
    together = detector(batch(300, 300))
    first = batch(300)
    alone = detector(first)
    places = {tuple(c): row for row, c in enumerate(together.taps["scores"].coordinates.tolist())}
    rows = [places[tuple(c)] for c in alone.taps["scores"].coordinates.tolist()]
    assert len(rows) == int((together.frame == 0).sum())
    torch.testing.assert_close(together.scores[rows], alone.scores)


@pytest.mark.parametrize("sizes", [(300, 0, 200), (0, 250)])
def test_an_empty_frame_inside_a_batch(sizes: tuple[int, ...]) -> None:
    detector = build_detector(pointpillars())
    inputs = batch(*sizes)
    prediction = detector(inputs)
    sum(detector.loss(prediction, inputs).values()).backward()
    found = detector.detect(prediction)
    assert [len(d.boxes) for d, n in zip(found, sizes, strict=True) if n == 0] == [0] * sizes.count(0)


def test_nothing_in_range_gives_no_boxes_and_a_loss_that_trains() -> None:
    detector = build_detector(pointpillars())
    inputs = batch(0, 0)
    prediction = detector(inputs)
    assert [len(d.boxes) for d in detector.detect(prediction)] == [0, 0]
    assert sum(float(x.detach()) for x in detector.loss(prediction, inputs).values()) == 0


def test_it_overfits_one_frame() -> None:
    torch.manual_seed(0)
    detector = build_detector(pointpillars())
    inputs = batch(500)
    optimiser = torch.optim.AdamW(detector.parameters(), 1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        sum(detector.loss(detector(inputs), inputs).values()).backward()
        optimiser.step()
    found = detector.detect(detector(inputs))[0]
    assert found.labels[:2].sort().values.tolist() == [0, 1]
    order = found.labels[:2].argsort()
    assert (found.boxes[:2][order] - inputs.boxes[0]).abs()[:, :6].max() < 0.3


@torch.no_grad()
def test_multiply_adds_are_counted_from_the_sites() -> None:
    """On a full grid the count has a closed form, but for the kernel's cells beyond the border."""
    detector = build_detector(pointpillars(layers=[0, 0, 0])).eval()
    steps = torch.arange(32) * 0.2 + 0.1
    x, y = torch.meshgrid(steps, steps - 3.2, indexing="ij")
    points = torch.stack([x.flatten(), y.flatten(), torch.zeros(1024), torch.zeros(1024)], dim=1)
    full = of_clouds([points.numpy()], [torch.zeros(0, 7)], [torch.zeros(0)])
    same = 3 * 16 - 2  # pairs along one axis of a 3-kernel with stride 1 on 16 cells, less the border's two
    down = [3 * n - 1 for n in (16, 8, 4)]  # the same for stride 2: only the first cell's left neighbour is missing
    wanted = 1024 * 10 * 8 + down[0] ** 2 * 8 * 8 + down[1] ** 2 * 8 * 12 + down[2] ** 2 * 12 * 16
    wanted += 256 * 16 * 8 + 256 * 12 * 8 + same**2 * 8 * 8 + 256 * 24 * (18 + 42 + 12)
    assert count_multiply_adds(detector, full) == wanted
