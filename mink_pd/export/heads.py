"""The detectors' heads: their maps in a graph, and the prediction from the maps that a runtime returns."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from mink_pd.export.layers import folded, linear_map, output_map
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.detector import AnchorPrediction, Detector
from mink_pd.models.detectors.centerpoint import CenterDetector
from mink_pd.models.heads.anchor_head import AnchorHead
from mink_pd.models.heads.center_head import CenterHead, CenterPrediction
from mink_pd.models.layers.maps import cell_coordinates
from mink_pd.sparse import Voxels

EMPTY_LOGIT = -100.0  # class logit of cells where a sparse detector predicts nothing
Levels = list[dict[str, Tensor]]  # for each level the maps (B, C_i, y, x) by name


class HeadMaps(nn.Module, ABC):
    """A head on the map of a level. names: of its output maps, in order, without the number of the level.

    The first map of a sparse detector's head is EMPTY_LOGIT where it predicts nothing.
    """

    names: list[str]

    @abstractmethod
    def forward(self, level: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Maps (1, C_i, y, x) of a level (1, C, y, x). mask: (1, 1, y, x), 1 at sites; None: every cell is a site."""

    @abstractmethod
    def prediction(self, detector: Any, levels: Levels, voxels: Voxels) -> Any:
        """The detector's prediction from the maps of each level, at all cells that have one."""


def head_maps(detector: Detector) -> HeadMaps | None:
    """The head of a detector as maps; None if the detector's head has no such form."""
    if isinstance(detector, AnchorDetector):
        return AnchorMaps(detector.head)
    if isinstance(detector, CenterDetector):
        return CenterMaps(detector.head)
    return None


class AnchorMaps(HeadMaps):
    """Scores, boxes, directions and, if predicted, velocities of one level."""

    def __init__(self, head: AnchorHead) -> None:
        super().__init__()
        self.names = ["scores", "boxes", "directions", "velocities"][: len(head.layers())]
        self.maps = nn.ModuleList(linear_map(layer) for layer in head.layers())

    def forward(self, level: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Maps (1, A * classes, y, x), (1, A * 7, y, x), (1, A * 2, y, x): logits, residuals, logits."""
        scores, *others = (layer(level) for layer in self.maps)
        return [_without_empty(scores, mask), *others]

    def prediction(self, detector: AnchorDetector, levels: Levels, voxels: Voxels) -> AnchorPrediction:
        parts: dict[str, list[Tensor]] = {}
        for number, (rows, coordinates, stride) in enumerate(_cells(detector, levels, "scores")):
            rows["anchors"] = detector.anchors_at(coordinates, stride, number, voxels)
            rows["frame"] = coordinates[:, 0].long()
            for name, values in rows.items():
                parts.setdefault(name, []).append(values)
        joined = {name: torch.cat(values) for name, values in parts.items()}
        sites, kinds = joined["anchors"].shape[:2]
        for name, width in (("scores", len(detector.classes)), ("boxes", 7), ("directions", 2), ("velocities", 2)):
            if name in joined:
                joined[name] = joined[name].reshape(sites, kinds, width)
        return AnchorPrediction(**joined, frames=voxels.frames)  # type: ignore[arg-type]


class CenterMaps(HeadMaps):
    """heatmap, offset, height, size, yaw and, if predicted, velocity and iou. Those of further tasks have a suffix:
    heatmap_task2."""

    def __init__(self, head: CenterHead) -> None:
        super().__init__()
        self.shared = folded(head.shared)
        tasks: list[Any] = list(head.branches)
        self.tasks = [list(branches) for branches in tasks]  # names of each task's maps
        self.names = [_task_name(name, task) for task, names in enumerate(self.tasks) for name in names]
        branches = [branch for task in tasks for branch in task.values()]
        self.hidden = nn.ModuleList(folded(branch[0]) for branch in branches)
        self.maps = nn.ModuleList(output_map(branch[1].convolution) for branch in branches)

    def forward(self, level: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Maps (1, classes of the task, y, x), (1, 2, y, x), (1, 1, ..), (1, 3, ..), (1, 2, ..)[, (1, 2, ..)]."""
        x = _masked(self.shared(level), mask)
        maps = [last(_masked(first(x), mask)) for first, last in zip(self.hidden, self.maps, strict=True)]
        heatmaps = [name.startswith("heatmap") for name in self.names]
        return [_without_empty(one, mask) if heat else one for one, heat in zip(maps, heatmaps, strict=True)]

    def prediction(self, detector: CenterDetector, levels: Levels, voxels: Voxels) -> CenterPrediction:
        ((rows, coordinates, stride),) = _cells(detector, levels, "heatmap")
        parts = [{name: rows[_task_name(name, task)] for name in names} for task, names in enumerate(self.tasks)]
        edges = voxels.size[:2] * stride
        corners = voxels.centres(coordinates, stride) - edges / 2  # (S, 2)
        frame = coordinates[:, 0].long()
        return detector.head.assemble(parts, voxels.frames, coordinates, stride, corners, edges, frame)


def _task_name(name: str, task: int) -> str:
    return name if task == 0 else f"{name}_task{task + 1}"


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


def _without_empty(logits: Tensor, mask: Tensor | None) -> Tensor:
    return logits if mask is None else torch.where(mask > 0, logits, torch.full_like(logits[:, :1], EMPTY_LOGIT))


def _cells(detector: Any, levels: Levels, first: str) -> list[tuple[dict[str, Tensor], Tensor, int]]:
    """For each level: the rows (S, C) of all maps at cells with a prediction, their coordinates (S, 3), the stride."""
    result = []
    for number, maps in zip(detector.bev.neck_stages, levels, strict=True):
        stride = detector.encoder.stride * detector.bev.strides[0] * detector.bev.factors[number]
        rows = {name: values.permute(0, 2, 3, 1).flatten(0, 2) for name, values in maps.items()}  # (B * y * x, C)
        kept = rows[first][:, 0] > EMPTY_LOGIT
        coordinates = cell_coordinates(maps[first], stride)[kept]  # (S, 3)
        result.append(({name: values[kept] for name, values in rows.items()}, coordinates, stride))
    return result
