"""The sites near objects at which a detector's head predicts. They follow from the points, without any training."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from mink_pd.config.models import AnchorConfig, HeadConfig
from mink_pd.data.frame import Frame
from mink_pd.data.loading.batch import collate
from mink_pd.data.loading.epochs import crop_points, keep_boxes
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.heads.anchors import aligned_iou, anchor_positions, place_anchors


@dataclass(frozen=True)
class NearSites:
    """N objects that a detector is trained on, and M pairs of an object and a site near it."""

    boxes: torch.Tensor  # (N, 7)
    labels: torch.Tensor  # int64 (N,), index of the class among the detector's
    rows: torch.Tensor  # int64 (M,), the object of each pair
    positions: torch.Tensor  # (M, 2), x and y of each pair's site [m]

    def of(self, label: int) -> "NearSites":
        """The objects of one class."""
        own = self.labels == label
        number = torch.cumsum(own, 0) - 1
        pairs = own[self.rows]
        return NearSites(self.boxes[own], self.labels[own], number[self.rows[pairs]], self.positions[pairs])

    def overlap(self, shapes: list[AnchorConfig]) -> torch.Tensor:
        """The highest IoU (N,) of each object with an anchor of any of the shapes, as training matches them."""
        anchors = place_anchors(self.positions, shapes)  # (M, 2 * shapes, 7)
        kinds = anchors.shape[1]
        overlap = aligned_iou(anchors.reshape(-1, 7), self.boxes[self.rows].repeat_interleave(kinds, dim=0))
        best = overlap.view(-1, kinds).amax(dim=1)  # (M,)
        return torch.zeros(len(self.boxes)).scatter_reduce(0, self.rows, best, "amax")


@torch.no_grad()
def find_sites(detector: AnchorDetector, frames: Iterable[Frame]) -> NearSites:
    """The sites of the head's finest level that lie within half the diagonal of an object."""
    bounds = detector.config.data.range
    boxes, labels, rows, positions = [torch.zeros(0, 7)], [torch.zeros(0, dtype=torch.int64)], [], []
    for frame in frames:
        batch = collate([keep_boxes(crop_points(frame, bounds), bounds)], detector.classes)
        known = sum(map(len, boxes))
        boxes.append(batch.boxes[0])
        labels.append(batch.labels[0])
        if not len(batch.boxes[0]) or not detector.sees(batch):
            continue
        voxels = detector.shared_input(batch)
        encoded, columns = detector.encoder.encode(voxels)
        key = detector.bev.sites(encoded, columns)[1][0]
        coordinates, stride = columns.manager.get_coordinates(key), key.get_tensor_stride()[0]
        sites = anchor_positions(coordinates, stride, columns, bounds, HeadConfig())  # (S, 2)
        reach = batch.boxes[0][:, 3:5].norm(dim=1) / 2  # (B,)
        near = ((batch.boxes[0][:, None, :2] - sites).abs() <= reach[:, None, None]).all(dim=2)  # (B, S)
        row, site = torch.nonzero(near, as_tuple=True)
        rows.append(known + row)
        positions.append(sites[site])
    return NearSites(
        torch.cat(boxes),
        torch.cat(labels),
        torch.cat([torch.zeros(0, dtype=torch.int64), *rows]),
        torch.cat([torch.zeros(0, 2), *positions]),
    )
