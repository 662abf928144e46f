"""SECOND against dense convolutions, and on the inputs that break others."""

import pytest
import torch
from models.frames import batch, of_clouds, second
from torch import Tensor, nn
from torch.nn import functional

from mink_pd.models import build_detector
from mink_pd.models.layers.sparse_encoder import LIFT, SparseEncoder, mean_features
from mink_pd.sparse import Voxels, seen_from_above, voxelise

CELLS = (21, 18, 40)  # odd and even: the last strided site lies on the edge, or its kernel reaches over it


def random_voxels(cells: tuple[int, int, int], count: int) -> Voxels:
    points = torch.cat([torch.rand(count, 3) * torch.tensor(cells), torch.rand(count, 1)], dim=1)
    # all corners: sites beyond the grid must not appear
    corners = torch.cartesian_prod(*(torch.tensor([0.5, n - 0.5]) for n in cells))
    points = torch.cat([points, torch.nn.functional.pad(corners, (0, 1))])
    frame = torch.arange(len(points)) % 2
    return voxelise(points, frame, 2, (1, 1, 1), (0, 0, 0, *cells), dimensions=3, first=(0, 0, LIFT))


def dense_layer(image: Tensor, active: Tensor, block: nn.Module, **geometry: object) -> tuple[Tensor, Tensor]:
    """spconv's layer on a grid (B, C, z, y, x) with active cells (B, 1, z, y, x); submanifold without a stride."""
    kernel = block.convolution.kernel  # (K, in, out)
    shape = (3, 3, 3) if len(kernel) == 27 else (3, 1, 1)
    weight = kernel.view(*shape, *kernel.shape[1:]).permute(4, 3, 0, 1, 2)  # (out, in, z, y, x)
    image = functional.conv3d(image, weight, **geometry)
    if "stride" in geometry:
        active = functional.conv3d(active.float(), torch.ones(1, 1, *shape), **geometry) > 0.5
    image = torch.relu(nn.functional.batch_norm(image, block.norm.running_mean, block.norm.running_var,
                                                block.norm.weight, block.norm.bias, eps=block.norm.eps))  # fmt: skip
    return image * active, active


@torch.no_grad()
def test_encoder_is_spconvs_on_every_site() -> None:
    torch.manual_seed(0)
    voxels = random_voxels(CELLS, 150)
    encoder = SparseEncoder([4, 6, 8, 8, 10], CELLS).eval()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    x = voxels.tensor(torch.randn(len(voxels), 4))
    outputs = encoder(x, voxels)

    frame, cx, cy, cz = x.C.long().t()
    cz = cz - LIFT
    image = torch.zeros(2, 4, CELLS[2] + 1, CELLS[1], CELLS[0])  # published: one layer more than cells
    active = torch.zeros(2, 1, *image.shape[2:], dtype=torch.bool)
    image[frame, :, cz, cy, cx] = x.F
    active[frame, :, cz, cy, cx] = True
    grids = []
    for block in encoder.first:
        image, active = dense_layer(image, active, block, padding=1)
    grids.append((image, active))
    for padding, down, same in zip((1, 1, (0, 1, 1)), encoder.down, encoder.same, strict=True):
        image, active = dense_layer(image, active, down, stride=2, padding=padding)
        for block in same:
            image, active = dense_layer(image, active, block, padding=1)
        grids.append((image, active))
    grids.append(dense_layer(image, active, encoder.height, stride=(2, 1, 1)))

    assert grids[-1][0].shape[2] == encoder.levels == 2
    for (image, active), output in zip(grids, outputs, strict=True):
        stride = torch.tensor(output.tensor_stride)
        low = torch.tensor([0, 0, max(LIFT, int(stride[2]))])
        places = torch.div(output.C[:, 1:] - low, stride, rounding_mode="floor").long()
        sites = {(int(b), *place) for b, place in zip(output.C[:, 0], places.tolist(), strict=True)}
        wanted = {(b, x, y, z) for b, _, z, y, x in active.nonzero().tolist()}
        assert len(output.F) == len(wanted)
        assert sites == wanted
        px, py, pz = places.t()
        torch.testing.assert_close(output.F, image[output.C[:, 0].long(), :, pz, py, px], atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("height", [1, 7, 20, 39, 44, 57])
def test_every_voxel_reaches_the_map_whatever_the_height(height: int) -> None:
    cells = (8, 8, height)
    voxels = random_voxels(cells, 30)
    encoder = SparseEncoder([4, 4, 4, 4, 4], cells).eval()
    *_, last, encoded = encoder(voxels.tensor(torch.randn(len(voxels), 4)), voxels)
    for tensor in (last, encoded):
        columns = {tuple(c) for c in tensor.C[:, :3].tolist()}
        assert {(b, x // 8 * 8, y // 8 * 8) for b, x, y, _ in voxels.coordinates.tolist()} <= columns
    levels = torch.unique(encoded.C[:, 3])
    assert levels.min() >= 16
    assert levels.max() <= 16 * encoder.levels


@torch.no_grad()
def test_heights_are_stacked_channel_by_channel() -> None:
    voxels = random_voxels((16, 16, 40), 100)
    encoder = SparseEncoder([4, 4, 4, 4, 5], (16, 16, 40)).eval()
    encoded = encoder(voxels.tensor(torch.randn(len(voxels), 4)), voxels)[-1]
    bev = seen_from_above(encoded, voxels.columns(), 2, lowest=16)
    assert bev.F.shape[1] == 10
    wanted = torch.zeros_like(bev.F)
    rows = {tuple(c): row for row, c in enumerate(bev.C.tolist())}
    for (frame, x, y, z), feature in zip(encoded.C.tolist(), encoded.F, strict=True):
        wanted[rows[frame, x, y], torch.arange(5) * 2 + (z // 16 - 1)] = feature
    assert torch.equal(bev.F, wanted)
    again = seen_from_above(encoded, voxels.columns(), 2, lowest=16)
    assert again.coordinate_map_key == bev.coordinate_map_key


@torch.no_grad()
def test_columns_are_the_voxels_seen_from_above() -> None:
    voxels = random_voxels((6, 5, 9), 200)
    flat = voxels.columns()
    assert {tuple(c) for c in flat.coordinates.tolist()} == {tuple(c) for c in voxels.coordinates[:, :3].tolist()}
    assert torch.equal(flat.coordinates[flat.rows], voxels.coordinates[voxels.rows][:, :3])
    assert torch.equal(flat.counts, torch.bincount(flat.rows, minlength=len(flat)))
    assert torch.equal(flat.coordinates, flat.manager.get_coordinates(flat.key))
    inside = (flat.points[:, :2] - flat.centres(flat.coordinates, 1)[flat.rows]).abs()
    assert inside.max() <= 0.5


@torch.no_grad()
@pytest.mark.parametrize("limit", [None, 2])
def test_mean_of_the_first_points_of_a_voxel(limit: int | None) -> None:
    voxels = random_voxels((3, 3, 3), 200)
    features = mean_features(voxels, limit)
    for row in range(len(voxels)):
        points = voxels.points[voxels.rows == row][:limit]
        torch.testing.assert_close(features[row], points.mean(dim=0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", ["sparse", "dense"])
@pytest.mark.parametrize("sizes", [(300, 0, 200), (0, 250), (0, 0)])
def test_empty_frames(form: str, sizes: tuple[int, ...]) -> None:
    detector = build_detector(second(bev=form))
    inputs = batch(*sizes)
    prediction = detector(inputs)
    sum(detector.loss(prediction, inputs).values()).backward()
    found = detector.detect(prediction)
    empty = [len(boxes.boxes) for boxes, n in zip(found, sizes, strict=True) if n == 0]
    assert len(found) == len(sizes)
    assert form == "dense" or empty == [0] * sizes.count(0)


@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_it_overfits_one_frame(form: str) -> None:
    torch.manual_seed(0)
    detector = build_detector(second(bev=form, encoder_channels=[8, 8, 16, 16, 16], channels=[16, 16]))
    box = torch.tensor([[3.2, 0.2, -1.0, 3.9, 1.6, 1.5, 0.3]])
    inputs = of_clouds(batch(600).frames[0].points[None].copy(), [box], [torch.tensor([0])])
    optimiser = torch.optim.AdamW(detector.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = sum(detector.loss(detector(inputs), inputs).values())
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    found = detector.detect(detector(inputs))[0]
    assert int(found.labels[0]) == 0
    assert (found.boxes[0] - box[0]).abs()[:6].max() < 0.3
