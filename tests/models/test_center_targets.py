"""Targets, losses and decoding of the centre head against plain formulas, cell by cell."""

import math

import numpy as np
import pytest
import torch
from models.frames import batch, centerpoint, centerpoint_nuscenes, nuscenes_batch

from mink_pd.config.centerpoint import CenterLossConfig
from mink_pd.data.loading.batch import Batch
from mink_pd.models import build_detector
from mink_pd.models.heads.center_head import CenterPrediction
from mink_pd.models.heads.center_loss import gaussian_focal_loss
from mink_pd.models.heads.center_targets import center_targets, decode, encode, gaussian_radius

BOUNDS = (0.0, -3.2, -3.0, 6.4, 3.2, 1.0)
SETTINGS = CenterLossConfig()


def whole_grid(frames: int, classes: int = 3, size: int = 16, tasks: int = 1) -> CenterPrediction:
    """A dense head on 16 x 16 cells of 0.4 m: random outputs at every cell, y before x as maps have them."""
    torch.manual_seed(0)
    axes = torch.arange(frames), torch.arange(size), torch.arange(size)
    frame, y, x = (axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij"))
    cells = torch.stack([x, y], dim=1)
    count = len(frame)
    return CenterPrediction(
        frames=frames,
        scores=torch.randn(count, classes),
        boxes=torch.randn(count, tasks, 8),
        velocities=torch.randn(count, tasks, 2),
        ious=None,
        coordinates=torch.cat([frame[:, None], 2 * cells], dim=1).int(),
        stride=2,
        corners=torch.tensor(BOUNDS[:2]) + 0.4 * cells,
        cell=torch.tensor([0.4, 0.4]),
        frame=frame,
    )


def some_of(prediction: CenterPrediction, rows: torch.Tensor) -> CenterPrediction:
    """What a sparse head with these sites says."""
    fields = {name: value[rows] if isinstance(value, torch.Tensor) and name != "cell" else value
              for name, value in vars(prediction).items()}  # fmt: skip
    return CenterPrediction(**fields)


def objects(count: int, frames: int) -> Batch:
    """Boxes of all sizes, some outside the range, some in one cell."""
    random = np.random.default_rng(3)
    result = batch(*[5] * frames)
    result.boxes, result.labels = [], []
    for _ in range(frames):
        low, high = [-1, -4, -2, 0.3, 0.3, 1, -3], [7, 4, 0, 5, 2.5, 2, 3]
        boxes = random.uniform(low, high, (count, 7)).astype(np.float32)
        boxes[1, :2] = boxes[0, :2] = [3.05, 0.1]
        result.boxes.append(torch.from_numpy(boxes))
        result.labels.append(torch.from_numpy(random.integers(0, 3, count)))
    return result


def drawn(result: Batch, frame: int, size: int = 16) -> np.ndarray:
    """The heatmap (classes, y, x) of a frame as published code paints it: one window after the other."""
    heatmap = np.zeros((3, size, size))
    for box, label in zip(result.boxes[frame].double().numpy(), result.labels[frame].tolist(), strict=True):
        x, y = (box[0] - BOUNDS[0]) / 0.4, (box[1] - BOUNDS[1]) / 0.4
        if not (0 <= x < size and 0 <= y < size):
            continue
        radius = max(int(radius_by_hand(box[3] / 0.4, box[4] / 0.4)), 2)
        sigma = (2 * radius + 1) / 6
        for row in range(size):
            for column in range(size):
                dx, dy = column - int(x), row - int(y)
                if max(abs(dx), abs(dy)) <= radius:
                    value = math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
                    heatmap[label, row, column] = max(heatmap[label, row, column], value)
    return heatmap


def radius_by_hand(length: float, width: float, overlap: float = 0.1) -> float:
    a = 0.5 * (length + width + math.sqrt((length + width) ** 2 - 4 * length * width * (1 - overlap) / (1 + overlap)))
    b = 0.5 * (2 * (length + width) + math.sqrt(4 * (length + width) ** 2 - 16 * (1 - overlap) * length * width))
    c = -2 * overlap * (length + width)
    d = 0.5 * (c + math.sqrt(c * c - 16 * overlap * (overlap - 1) * length * width))
    return min(a, b, d)


def test_heatmap_is_the_published_painting() -> None:
    prediction, result = whole_grid(2), objects(12, 2)
    targets = center_targets(prediction, result, BOUNDS, SETTINGS)
    for frame in range(2):
        ours = targets.heatmap[prediction.frame == frame].view(16, 16, 3).permute(2, 0, 1)
        np.testing.assert_allclose(ours.numpy(), drawn(result, frame), atol=1e-6)
    assert (targets.heatmap == 1).sum() > 5


def test_radius_by_hand() -> None:
    sizes = torch.tensor([[9.7, 4.0], [1.0, 1.0], [30.0, 7.0]])
    wanted = [radius_by_hand(*size) for size in sizes.tolist()]
    assert gaussian_radius(sizes, 0.1).tolist() == pytest.approx(wanted, rel=1e-5)


def test_sparse_targets_are_the_dense_ones_at_their_sites() -> None:
    """Where the cells that hold the centres are among the sites."""
    whole, result = whole_grid(2), objects(12, 2)
    dense = center_targets(whole, result, BOUNDS, SETTINGS)
    generator = torch.Generator().manual_seed(1)
    kept = torch.rand(len(whole.frame), generator=generator) < 0.3
    kept[dense.site] = True
    rows = torch.nonzero(kept)[:, 0][
        torch.randperm(int(kept.sum()), generator=generator)
    ]  # maps have orders of their own
    sparse = center_targets(some_of(whole, rows), result, BOUNDS, SETTINGS)
    torch.testing.assert_close(sparse.heatmap, dense.heatmap[rows])
    assert torch.equal(rows[sparse.site], dense.site)


def test_an_object_over_an_empty_cell_stands_at_the_nearest_site() -> None:
    whole = whole_grid(2)
    result = batch(5, 5)
    result.boxes = [torch.tensor([[3.0, 0.1, -1, 4, 1.6, 1.5, 0], [6.0, 3.0, -1, 0.8, 0.6, 1.7, 0]])] * 2
    near, far = whole.corners[:, 0] >= 3.4, whole.corners[:, 0] < 0.3
    rows = torch.nonzero(torch.where(whole.frame == 0, near & (whole.corners[:, 0] < 4), far))[:, 0]
    sparse = some_of(whole, rows)
    targets = center_targets(sparse, result, BOUNDS, SETTINGS)
    assert len(targets.site) == 1  # a car; the people, and the car of the other frame, are out of reach
    place = sparse.corners[targets.site[0]] + 0.2
    distances = (sparse.corners[sparse.frame == 0] + 0.2 - torch.tensor([3.0, 0.1])).norm(dim=1)
    assert float((place - torch.tensor([3.0, 0.1])).norm()) == pytest.approx(float(distances.min()))
    assert targets.heatmap[targets.site[0], 0] == 1


def test_code_by_hand_and_back() -> None:
    boxes = torch.tensor([[3.1, -0.3, -1.2, 3.9, 1.6, 1.5, 2.8], [0.2, 0.4, 0.1, 0.8, 0.6, 1.7, -1.0]])
    corners, cell = torch.tensor([[3.0, -0.4], [0.0, 0.4]]), torch.tensor([0.4, 0.2])
    code = encode(boxes, corners, cell)
    wanted = [0.25, 0.5, -1.2, math.log(3.9), math.log(1.6), math.log(1.5), math.sin(2.8), math.cos(2.8)]
    assert code[0].tolist() == pytest.approx(wanted, abs=1e-5)
    torch.testing.assert_close(decode(code, corners, cell), boxes)
    torch.testing.assert_close(decode(code * torch.tensor([1, 1, 1, 1, 1, 1, 3, 3]), corners, cell), boxes)


def test_focal_loss_is_the_formula() -> None:
    logits = torch.tensor([[0.3, -2.0], [1.5, 20.0]])
    heatmap = torch.tensor([[1.0, 0.5], [0.0, 0.0]])
    p = [[1 / (1 + math.exp(-x)) for x in row] for row in logits.tolist()]
    p[1][1] = 1 - 1e-4
    wanted = [[-((1 - p[0][0]) ** 2) * math.log(p[0][0]), -(p[0][1] ** 2) * 0.5**4 * math.log(1 - p[0][1])],
              [-(p[1][0] ** 2) * math.log(1 - p[1][0]), -(p[1][1] ** 2) * math.log(1e-4)]]  # fmt: skip
    for ours, theirs in zip(gaussian_focal_loss(logits, heatmap).tolist(), wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)


def test_loss_by_loops() -> None:
    """Two tasks and velocities, gathered object by object."""
    detector = build_detector(centerpoint_nuscenes(bev="dense"))
    result = nuscenes_batch(200, 150)
    result.boxes[1], result.labels[1] = result.boxes[1][:1], result.labels[1][:1]
    assert result.velocities is not None
    result.velocities[1] = result.velocities[1][:1]
    prediction = detector(result)
    losses = detector.loss(prediction, result)
    targets = center_targets(prediction, result, detector.config.data.range, SETTINGS)
    heat = box = velocity = 0.0
    each = gaussian_focal_loss(prediction.scores, targets.heatmap)
    for frame in range(2):
        here = prediction.frame == frame
        for task, classes in ((0, [2]), (1, [1, 0])):
            boxes = [row for row, label in enumerate(result.labels[frame].tolist()) if label in classes]
            share = 1 / max(len(boxes), 1) / 2
            heat += share * float(each[here][:, classes].detach().sum())
            for row in boxes:
                x, y, z, length, width, height, yaw = result.boxes[frame][row].tolist()
                column, line = (x + 3.2) / 0.8, (y + 3.2) / 0.8  # cells of 4 pillars
                site = [frame, 4 * int(column), 4 * int(line)]
                place = prediction.coordinates.tolist().index(site)
                wanted = [column % 1, line % 1, z, math.log(length), math.log(width), math.log(height), math.sin(yaw),
                          math.cos(yaw)]  # fmt: skip
                said = prediction.boxes[place, task].tolist()
                box += share * sum(abs(a - b) for a, b in zip(said, wanted, strict=True))
                for a, b in zip(prediction.velocities[place, task].tolist(), result.velocities[frame][row].tolist(),
                                strict=True):  # fmt: skip
                    velocity += 0.0 if math.isnan(b) else share * abs(a - b)
    assert losses["heatmap"].item() == pytest.approx(heat, rel=1e-4)
    assert losses["box"].item() == pytest.approx(0.25 * box, rel=1e-4)
    assert losses["velocity"].item() == pytest.approx(0.05 * velocity, rel=1e-4)


def test_iou_is_learnt_from_what_the_head_says() -> None:
    detector = build_detector(centerpoint(bev="dense", head={"channels": 8, "iou": True}))
    result = batch(300)
    prediction = detector(result)
    targets = center_targets(prediction, result, BOUNDS, SETTINGS)
    exact = encode(targets.boxes, prediction.corners[targets.site], prediction.cell)
    shifted = exact.clone()
    shifted[1, 2] += float(targets.boxes[1, 5]) / 2  # half the height: a third of the union
    prediction.boxes = torch.zeros_like(prediction.boxes).index_put((targets.site,), shifted[:, None])
    prediction.ious = torch.zeros_like(prediction.ious)
    loss = detector.loss(prediction, result)["iou"]
    assert loss.item() == pytest.approx((1 + abs(2 / 3 - 1)) / 2, rel=1e-4)
