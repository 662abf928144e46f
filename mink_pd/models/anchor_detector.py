"""The base class of detectors with anchors, PointPillars and SECOND."""

import torch
from torch import Tensor

from mink_pd.config import Config
from mink_pd.config.models import AnchorDetectorConfig
from mink_pd.data.loading.batch import Batch
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.detector import AnchorPrediction, Detections
from mink_pd.models.heads.anchor_decode import detect
from mink_pd.models.heads.anchor_head import AnchorHead
from mink_pd.models.heads.anchors import anchor_positions, place_anchors
from mink_pd.models.heads.box_layout import BoxLayout
from mink_pd.models.heads.losses import detection_loss
from mink_pd.models.layers.bev import BevFeatures, Level
from mink_pd.models.layers.encoder import BevEncoder
from mink_pd.sparse import Voxels
from mink_pd.sparse.kernel_map import hashable


class AnchorDetector(BevDetector[AnchorPrediction]):
    """A detector with an anchor head."""

    settings: AnchorDetectorConfig
    ignores = True

    def __init__(self, config: Config, encoder: BevEncoder) -> None:
        super().__init__(config, encoder)
        assert isinstance(config.model, AnchorDetectorConfig)
        anchors, head = config.model.anchors, config.model.head
        self.anchor_kinds = list(anchors.values()) if head.any_class else [anchors[name] for name in self.classes]
        self.head = AnchorHead(self.neck_channels, 2 * len(self.anchor_kinds), len(self.classes), head.velocity)

    def tap_channels(self) -> dict[str, int]:
        return super().tap_channels() | self.head.tap_channels()

    def box_layout(self) -> BoxLayout:
        """One box per anchor, coded by small residuals; the classes of an anchor are consecutive channels."""
        owner = torch.arange(self.head.anchors).repeat_interleave(len(self.classes))
        return BoxLayout(tuple(owner.tolist()), middle=(0.0,) * 7, spread=(1.0,) * 7, angle=6)

    def box_coding(self) -> dict[str, object]:
        """Sizes and heights of the anchors in the order of the head, and where and how they stand."""
        head = self.settings.head
        anchors = [(anchor.size, anchor.z) for anchor in self.anchor_kinds]
        placed = {f"model.head.{key}": getattr(head, key) for key in ("any_class", "places", "headings", "scales")}
        return {"model.anchors": anchors, **placed}

    def read(self, features: BevFeatures, voxels: Voxels) -> AnchorPrediction:
        anchors = [self._anchors_of(level, number, voxels) for number, level in enumerate(features.levels)]
        return self.head(features.levels, voxels, anchors[0] if len(anchors) == 1 else torch.cat(anchors))

    def _anchors_of(self, level: Level, number: int, voxels: Voxels) -> Tensor:
        """Anchors (S, A, 7) of a level, made once: all networks with the same anchors on these voxels share them."""
        coding = (repr(value) for value in self.box_coding().values())
        name = ("anchors", number, level.image is None, *hashable(level.neck.coordinate_map_key), *coding)
        if name not in voxels.derived:
            voxels.derived[name] = self.anchors_at(level.coordinates, level.stride, number, voxels)
        return voxels.derived[name]

    def anchors_at(self, coordinates: Tensor, stride: int, level: int, voxels: Voxels) -> Tensor:
        """Anchors (S, A, 7) at coordinates (S, 3) of a tensor stride; ``level`` of the neck is counted from 0."""
        head = self.settings.head
        positions = anchor_positions(coordinates, stride, voxels, self.config.data.range, head)  # (S, 2)
        return place_anchors(positions, self.anchor_kinds, head.headings, head.scales[min(level, len(head.scales) - 1)])

    def nothing(self, frames: int, device: torch.device) -> AnchorPrediction:
        return self.head.nothing(frames, device)

    def loss(self, prediction: AnchorPrediction, batch: Batch) -> dict[str, Tensor]:
        return detection_loss(prediction, batch, self.anchor_kinds, self.settings.loss, self.settings.head)

    @torch.no_grad()
    def detect(self, prediction: AnchorPrediction) -> list[Detections]:
        return detect(prediction, self.settings.nms, self.settings.head.direction_offset)
