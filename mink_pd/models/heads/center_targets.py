"""Targets of a centre head: Gaussians around the objects' centres, and the box at one site per object (CenterPoint, Yin
et al. 2021, section 3; radius and shape of a Gaussian: CornerNet, Law & Deng 2018, section 3.2)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mink_pd.config.centerpoint import CenterLossConfig
from mink_pd.data.loading.batch import Batch
from mink_pd.models.heads.anchors import LARGEST
from mink_pd.models.heads.center_head import CenterPrediction
from mink_pd.models.heads.losses import frames_of


@dataclass
class CenterTargets:
    """The targets at S sites, with N objects that have a site."""

    heatmap: Tensor  # (S, classes) 0..1
    ignored: Tensor  # (S, classes) bool, scores that do not enter the loss
    site: Tensor  # (N,) int64, each object's site
    label: Tensor  # (N,) int64
    boxes: Tensor  # (N, 7)
    velocities: Tensor  # (N, 2) [m/s]; nan where unknown


def center_targets(
    prediction: CenterPrediction, batch: Batch, bounds: tuple[float, ...], settings: CenterLossConfig
) -> CenterTargets:
    """The targets of a batch at the sites of a prediction, whose range is ``bounds``.

    An object belongs to the site whose cell contains its centre. If there is none, it belongs to the nearest site of
    its frame within its reach, as in VoxelNeXt (Chen et al. 2023, section 3.3). Objects without a site or with a centre
    outside the range have no target. Inside the Gaussians of the batch's ignored boxes, all scores except the peaks of
    objects are ignored.
    """
    boxes, labels = torch.cat(batch.boxes), torch.cat(batch.labels)  # (B, 7), (B,)
    velocities = torch.full_like(boxes[:, :2], torch.nan) if batch.velocities is None else torch.cat(batch.velocities)
    heatmap, kept, site = _drawn(prediction, batch.boxes, batch.labels, bounds, settings)
    ignored = torch.zeros_like(heatmap, dtype=torch.bool)
    if batch.ignored is not None and batch.ignored_labels is not None:
        doubtful, _, _ = _drawn(prediction, batch.ignored, batch.ignored_labels, bounds, settings)
        ignored = (doubtful > 0) & (heatmap < 1)
    return CenterTargets(heatmap, ignored, site, labels[kept], boxes[kept], velocities[kept])


def _drawn(
    prediction: CenterPrediction,
    frames_boxes: list[Tensor],
    frames_labels: list[Tensor],
    bounds: tuple[float, ...],
    settings: CenterLossConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    """Heatmap (S, classes) of the boxes of each frame, rows int64 (N,) of those that have a site, and their sites."""
    boxes, labels = torch.cat(frames_boxes), torch.cat(frames_labels)  # (B, 7), (B,)
    low, high = (boxes.new_tensor(bounds[at : at + 2]) for at in (0, 3))  # (2,)
    inside = ((boxes[:, :2] >= low) & (boxes[:, :2] < high) & (boxes[:, 3:5] > 0)).all(dim=1)
    site = _own_site(prediction, boxes, frames_of(frames_boxes))  # (B,), -1: none
    kept = torch.nonzero(inside & (site >= 0))[:, 0]
    sizes = boxes[kept, 3:5] / prediction.cell
    radius = gaussian_radius(sizes, settings.overlap).long().clamp(min=settings.min_radius)
    return draw(prediction, site[kept], labels[kept], radius), kept, site[kept]


def _own_site(prediction: CenterPrediction, boxes: Tensor, frame: Tensor) -> Tensor:
    """The site (B,) int64 of each object; -1: none within reach."""
    sites = len(prediction.frame)
    site = torch.full((len(boxes),), -1, dtype=torch.int64, device=boxes.device)
    if sites == 0 or len(boxes) == 0:
        return site
    centres = prediction.corners + prediction.cell / 2  # (S, 2)
    half = prediction.cell / 2 * (1 + 1e-6)
    reach = boxes[:, 3:5].norm(dim=1) / 2 + half.norm()  # (B,): of the object and half a cell
    for index in range(prediction.frames):
        here, own = torch.nonzero(prediction.frame == index)[:, 0], torch.nonzero(frame == index)[:, 0]
        if len(here) == 0 or len(own) == 0:
            continue
        offset = (boxes[own, None, :2] - centres[here]).abs()  # (b, s, 2)
        holds = (offset <= half).all(dim=2)
        distance = offset.norm(dim=2).masked_fill(holds, -1.0)  # the cell that contains the centre comes first
        nearest = distance.min(dim=1)
        site[own] = torch.where(nearest.values <= reach[own], here[nearest.indices], -1)
    return site


def gaussian_radius(size: Tensor, overlap: float) -> Tensor:
    """Radius (N,) [cells]: how far the corners of objects of ``size`` (N, 2) [cells] can move until IoU = ``overlap``.

    It is the smallest of three cases: both corners move inwards, both outwards, or one each. The published form takes
    (b + sqrt(b^2 - 4ac)) / 2 for the root in all three. Published weights were trained with it, so it is used here.
    """
    total, area = size.sum(dim=1), size.prod(dim=1)
    cases = (
        (1.0, total, area * (1 - overlap) / (1 + overlap)),
        (4.0, 2 * total, (1 - overlap) * area),
        (4 * overlap, -2 * overlap * total, (overlap - 1) * area),
    )
    roots = [(b + (b * b - 4 * a * c).clamp(min=0).sqrt()) / 2 for a, b, c in cases]
    return torch.stack(roots).amin(dim=0)


def draw(prediction: CenterPrediction, site: Tensor, label: Tensor, radius: Tensor) -> Tensor:
    """Heatmap (S, classes) with a Gaussian around the site (N,) of each object.

    A Gaussian has sigma (2 r + 1) / 6 and extends r cells with r = ``radius`` (N,). Where several overlap, the maximum
    counts.
    """
    heatmap = torch.zeros_like(prediction.scores)
    if len(site) == 0:
        return heatmap
    near, object_ = _windows(prediction, site, radius)  # (n,): sites near an object
    cells = torch.div(prediction.coordinates[:, 1:], prediction.stride, rounding_mode="floor")  # (S, 2)
    far = (cells[near] - cells[site[object_]]).to(heatmap.dtype).square().sum(dim=1)  # (n,)
    sigma = (2 * radius[object_] + 1).to(heatmap.dtype) / 6
    heat = torch.exp(-far / (2 * sigma.square()))
    flat = near * heatmap.shape[1] + label[object_]
    return heatmap.flatten().scatter_reduce(0, flat, heat, "amax").view_as(heatmap)


def _windows(prediction: CenterPrediction, site: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs (n,), (n,) of a site and an object whose window of 2 r + 1 cells around its own site contains the site."""
    cells = torch.div(prediction.coordinates.long(), prediction.stride, rounding_mode="floor")
    cells[:, 0] = prediction.frame
    most = int(radius.max())
    shape = [int(size) + 1 for size in cells.amax(dim=0)]
    rows = torch.full(shape, -1, device=cells.device)
    rows[cells[:, 0], cells[:, 1], cells[:, 2]] = torch.arange(len(cells), device=cells.device)
    steps = torch.arange(-most, most + 1, device=cells.device)
    window = torch.cartesian_prod(steps, steps)  # (w, 2)
    reached = cells[site, None, 1:] + window  # (N, w, 2)
    limit = torch.tensor(shape[1:], device=cells.device)
    fits = (window.abs().amax(dim=1) <= radius[:, None]) & ((reached >= 0) & (reached < limit)).all(dim=2)
    object_, at = torch.nonzero(fits, as_tuple=True)
    x, y = reached[object_, at].unbind(dim=1)
    near = rows[cells[site[object_], 0], x, y]
    there = near >= 0
    return near[there], object_[there]


def encode(boxes: Tensor, corners: Tensor, cell: Tensor) -> Tensor:
    """Code (N, CODE) of boxes (N, 7) at sites with lower corners (N, 2) [m] and cells of edges (2,) [m]."""
    offset = (boxes[:, :2] - corners) / cell
    yaw = boxes[:, 6:]
    return torch.cat([offset, boxes[:, 2:3], boxes[:, 3:6].log(), yaw.sin(), yaw.cos()], dim=1)


def decode(code: Tensor, corners: Tensor, cell: Tensor) -> Tensor:
    """Boxes (N, 7) of a code; the inverse of :func:`encode` for edges within 50 m and 2 cm."""
    centre = corners + code[:, :2] * cell
    size = code[:, 3:6].clamp(-LARGEST, LARGEST).exp()
    return torch.cat([centre, code[:, 2:3], size, torch.atan2(code[:, 6:7], code[:, 7:8])], dim=1)
