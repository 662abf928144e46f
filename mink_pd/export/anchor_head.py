"""The anchor head: its maps in a graph, and its prediction from maps that a runtime gives."""

import torch
from torch import Tensor, nn

from mink_pd.export.layers import linear_map
from mink_pd.export.network import HeadMaps
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.detector import AnchorPrediction
from mink_pd.models.head import AnchorHead
from mink_pd.models.maps import places
from mink_pd.sparse import Voxels

EMPTY_LOGIT = -100.0  # class logit of cells where a sparse detector predicts nothing


class AnchorMaps(HeadMaps):
    """Scores, boxes, directions and, where they are predicted, velocities of one level."""

    def __init__(self, head: AnchorHead) -> None:
        super().__init__()
        self.names = ["scores", "boxes", "directions", "velocities"][: len(head.layers())]
        self.maps = nn.ModuleList(map(linear_map, head.layers()))

    def forward(self, level: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Maps (1, A * classes, y, x), (1, A * 7, y, x), (1, A * 2, y, x): logits, residuals, logits."""
        scores, *others = (layer(level) for layer in self.maps)
        if mask is not None:
            scores = torch.where(mask > 0, scores, torch.full_like(scores[:, :1], EMPTY_LOGIT))
        return [scores, *others]


def anchor_prediction(detector: AnchorDetector, levels: list[dict[str, Tensor]], voxels: Voxels) -> AnchorPrediction:
    """The prediction at all cells that have one, from the maps (B, C, y, x) of each level."""
    first = voxels_stride(detector)
    parts: dict[str, list[Tensor]] = {}
    for number, maps in enumerate(levels):
        stride = first * (detector.bev.factors[number])
        rows = {name: values.permute(0, 2, 3, 1).flatten(0, 2) for name, values in maps.items()}  # (B * y * x, C)
        coordinates = places(maps["scores"], stride)  # (B * y * x, 3)
        kept = rows["scores"][:, 0] > EMPTY_LOGIT
        rows["anchors"] = detector.anchors_at(coordinates[kept], stride, number, voxels)
        rows["frame"] = coordinates[:, 0].long()
        for name, values in rows.items():
            parts.setdefault(name, []).append(values if name == "anchors" else values[kept])
    joined = {name: torch.cat(values) for name, values in parts.items()}
    anchors = joined["anchors"]
    for name, width in (("scores", len(detector.classes)), ("boxes", 7), ("directions", 2), ("velocities", 2)):
        if name in joined:
            joined[name] = joined[name].reshape(len(anchors), anchors.shape[1], width)
    return AnchorPrediction(**joined, frames=voxels.frames)  # type: ignore[arg-type]


def voxels_stride(detector: AnchorDetector) -> int:
    """Tensor stride of the neck's finest level, in voxels."""
    return detector.encoder.stride * detector.bev.strides[0]
