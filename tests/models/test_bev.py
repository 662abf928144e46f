"""The sparse and the dense form: against each other, against torch, and as partners in distillation."""

import pytest
import torch
from models.frames import batch, of_clouds, pointpillars, second
from torch import nn
from torch.nn import functional

from mink_pd.distill import Distiller
from mink_pd.models import build_detector
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.cost import count_multiply_adds
from mink_pd.models.layers.bev import DenseBev, SparseBev
from mink_pd.models.layers.maps import spread
from mink_pd.sparse import voxelise

CONFIGS = {"pointpillars": pointpillars, "second": second}


def full_grid(cells: int) -> torch.Tensor:
    """A point in the middle of every cell of a grid."""
    steps = torch.arange(cells) + 0.5
    x, y = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x.flatten(), y.flatten(), torch.full((cells**2,), 0.5), torch.zeros(cells**2)], dim=1)


@torch.no_grad()
@pytest.mark.parametrize("fpn", [False, True])
@pytest.mark.parametrize("strides", [[2, 2, 2], [1, 2]])
def test_forms_agree_where_every_cell_is_occupied(strides: list[int], fpn: bool) -> None:
    """Dense zero padding is then what a missing neighbour is to a sparse convolution."""
    torch.manual_seed(0)
    channels, layers = [5, 6, 7, 8][: len(strides) + 1], [1, 2, 1][: len(strides)]
    sparse = SparseBev(channels, strides, layers, 4, fpn).eval()
    dense = DenseBev(channels, strides, layers, 4, (16, 16), fpn).eval()
    for part in ("backbone", "neck"):
        blocks = [[m for m in getattr(net, part).modules() if hasattr(m, "convolution")] for net in (sparse, dense)]
        for ours, theirs in zip(*blocks, strict=True):
            nn.init.normal_(theirs.norm.weight)
            nn.init.normal_(theirs.norm.bias)
            ours.norm.load_state_dict(theirs.norm.state_dict())
            weight, kernel = theirs.convolution.weight, ours.convolution.kernel
            if isinstance(theirs.convolution, nn.ConvTranspose2d):  # (in, out, y, x)
                weight = weight.permute(2, 3, 0, 1).flatten(0, 1)
                if len(weight) == 1:  # the sparse neck looks at the neighbours of its grown sites as well
                    kernel.zero_()[4] = weight[0]
                    continue
                kernel.copy_(weight)
            else:  # (out, in, y, x)
                kernel.copy_(weight.permute(2, 3, 1, 0).flatten(0, 1).view(kernel.shape))
    voxels = voxelise(full_grid(16), torch.zeros(256).long(), 1, (1, 1, 1), (0, 0, 0, 16, 16, 1), 2)
    x = voxels.tensor(torch.randn(256, 5))
    a, b = sparse(x, voxels), dense(x, voxels)
    necks = [[level.neck for level in one.levels] for one in (a, b)]
    for one, other in zip(a.stages + necks[0], b.stages + necks[1], strict=True):
        assert one.coordinate_map_key == other.coordinate_map_key
        torch.testing.assert_close(one.F, other.F, atol=1e-4, rtol=1e-4)
    assert len(a.levels) == (len(strides) if fpn else 1)
    for one, other in zip(a.levels, b.levels, strict=True):
        torch.testing.assert_close(other.cells[other.rows], one.cells, atol=1e-4, rtol=1e-4)
        assert torch.equal(other.coordinates[other.rows], one.coordinates)


def normed(block: nn.Module, image: torch.Tensor) -> torch.Tensor:
    norm = block.norm
    return functional.batch_norm(image, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)


@torch.no_grad()
def test_dense_rows_are_the_maps_at_the_sites() -> None:
    """The stages as torch.nn.Sequential runs them on an image, read site by site."""
    torch.manual_seed(0)
    net = DenseBev([5, 6, 7], [1, 2], [1, 1], 4, (13, 10)).eval()
    points = torch.rand(60, 4) * torch.tensor([13.0, 10.0, 1.0, 1.0])
    voxels = voxelise(points, torch.arange(60) % 2, 2, (1, 1, 1), (0, 0, 0, 13, 10, 1), 2)
    x = voxels.tensor(torch.randn(len(voxels), 5))
    image = torch.zeros(2, 5, 10, 14)  # y, x; made up to a whole number of the last stage's cells
    frame, cx, cy = x.C.long().t()
    image[frame, :, cy, cx] = x.F
    assert torch.equal(spread(x, 2, net.grid), image)
    features, parts = net(x, voxels), []
    for stage, up, tap in zip(net.backbone, net.neck, features.stages, strict=True):
        for block in stage:
            image = torch.relu(normed(block, block.convolution(image)))
        parts.append(torch.relu(normed(up, up.convolution(image))))
        frame, cx, cy = tap.C.long().t()
        stride = tap.tensor_stride[0]
        torch.testing.assert_close(tap.F, image[frame, :, cy // stride, cx // stride])
    neck = torch.cat(parts, dim=1)
    (level,) = features.levels
    assert level.cells.shape == (2 * 10 * 14, 8)
    for coordinates, rows in ((level.coordinates, level.cells), (level.neck.C, level.neck.F)):
        frame, cx, cy = coordinates.long().t()
        torch.testing.assert_close(rows, neck[frame, :, cy, cx])


@pytest.mark.parametrize("detector", list(CONFIGS))
@pytest.mark.parametrize(("teacher_form", "student_form"), [("dense", "sparse"), ("sparse", "dense"), ("dense",) * 2])
def test_either_form_teaches_either(detector: str, teacher_form: str, student_form: str) -> None:
    config = CONFIGS[detector](bev=student_form, compression=4.0)
    config.distill.pointdistiller.taps = ["bev1", "bev2", "neck", "scores", "boxes"]
    teacher = build_detector(CONFIGS[detector](bev=teacher_form))
    student = build_detector(config)
    inputs = batch(300, 200)
    for first, second_ in ((teacher, student), (student, teacher)):  # whoever makes the sites
        voxels = student.shared_input(inputs)
        a, b = first(inputs, voxels), second_(inputs, voxels)
        assert a.taps.keys() == b.taps.keys() == student.tap_channels().keys()
        for name, tap in a.taps.items():
            assert tap.key == b.taps[name].key
            assert torch.equal(tap.coordinates, b.taps[name].coordinates)
            assert tap.features.shape[1] == first.tap_channels()[name]
    losses, _ = Distiller(student, teacher, config)(inputs)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(p.grad is not None for p in student.parameters())


@torch.no_grad()
@pytest.mark.parametrize("detector", list(CONFIGS))
@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_score_tap_is_the_heads_prediction(detector: str, form: str) -> None:
    net = build_detector(CONFIGS[detector](bev=form)).eval()
    assert isinstance(net, AnchorDetector)
    prediction = net(batch(200, 150))
    tap = prediction.taps["scores"]
    where = {
        (int(f), *(round(v, 3) for v in a[0, :2].tolist())): row
        for row, (f, a) in enumerate(zip(prediction.frame, prediction.anchors, strict=True))
    }
    for site, centre, values in zip(tap.coordinates.tolist(), tap.centres.tolist(), tap.features, strict=True):
        row = where[(site[0], *(round(v, 3) for v in centre))]
        assert torch.equal(values, prediction.scores[row].flatten())


@torch.no_grad()
def test_dense_multiply_adds_are_counted_from_the_cells() -> None:
    detector = build_detector(pointpillars(bev="dense", layers=[0, 0, 0]))
    points = torch.tensor([[1.0, 0.0, -1.0, 0.5], [1.0, 0.0, -1.2, 0.5], [5.0, 2.0, 0.0, 0.1]])
    inputs = of_clouds([points.numpy()], [torch.zeros(0, 7)], [torch.zeros(0)])
    wanted = 3 * 10 * 8  # points through the pillars' linear map
    wanted += 16**2 * 9 * 8 * 8 + 8**2 * 9 * 8 * 12 + 4**2 * 9 * 12 * 16  # three strided convolutions
    wanted += 16**2 * (8 * 8 + 12 * 8 + 16 * 8)  # each cell of the neck has one cell of each stage below it
    wanted += 16**2 * 24 * (18 + 42 + 12)  # the head
    assert count_multiply_adds(detector, inputs) == wanted


@torch.no_grad()
def test_sparse_3d_multiply_adds_by_hand() -> None:
    """Two voxels side by side in one corner: pairs of sites, layer by layer."""
    detector = build_detector(second(layers=[0, 0], encoder_channels=[4, 6, 8, 8, 10])).eval()
    inputs = of_clouds(
        [torch.tensor([[0.02, -3.18, -2.95, 0.5], [0.07, -3.18, -2.95, 0.5]]).numpy()], [torch.zeros(0, 7)],
        [torch.zeros(0)],
    )  # fmt: skip
    # voxels x = 0, 1 at y = z = 0. Submanifold: each has itself and the other: 4 pairs.
    pairs = 4 * (4 * 4) + 4 * (4 * 4)
    # stride 2: site 0 sees both, site 1 (its kernel begins at 1) sees x = 1: 3 pairs; then 2 sites as before.
    pairs += 3 * (4 * 6) + 2 * 4 * (6 * 6)
    pairs += 3 * (6 * 8) + 2 * 4 * (8 * 8)
    # z unpadded: site z = 0 covers layers 0..2, so the column stays one level; x as before.
    pairs += 3 * (8 * 8) + 2 * 4 * (8 * 8)
    pairs += 2 * (8 * 10)  # height: z = 0 only, two columns
    # seen from above: 2 sites at stride 8, 20 channels; x = 0, 1 in units of 8.
    pairs += 4 * (20 * 8)  # stage 1: both see both
    pairs += 2 * (8 * 12)  # stage 2: one site of stride 16 over both
    neck = 4  # its 2 x 2 cells
    pairs += (2 * 4) * (8 * 8)  # kernel 3 from 2 sites: all 4 cells touch both
    pairs += 4 * (12 * 8)  # spread
    pairs += neck * 16 * (18 + 42 + 12)
    assert count_multiply_adds(detector, inputs) == pairs
