"""Detectors with anchors: what PointPillars and SECOND share."""

import torch
from torch import Tensor

from mink_pd.config import Config
from mink_pd.config.models import AnchorDetectorConfig
from mink_pd.data.batch import Batch
from mink_pd.models.anchors import anchor_places, place_anchors
from mink_pd.models.bev import BevFeatures
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.decode import detect
from mink_pd.models.detector import AnchorPrediction, Detections
from mink_pd.models.encoder import BevEncoder
from mink_pd.models.head import AnchorHead
from mink_pd.models.losses import detection_loss
from mink_pd.sparse import Voxels


class AnchorDetector(BevDetector[AnchorPrediction]):
    """A detector that ends in an anchor head."""

    settings: AnchorDetectorConfig

    def __init__(self, config: Config, encoder: BevEncoder) -> None:
        super().__init__(config, encoder)
        assert isinstance(config.model, AnchorDetectorConfig)
        anchors, head = config.model.anchors, config.model.head
        self._anchors = list(anchors.values()) if head.any_class else [anchors[name] for name in self.classes]
        self.head = AnchorHead(self.neck_channels, 2 * len(self._anchors), len(self.classes), head.velocity)

    def tap_channels(self) -> dict[str, int]:
        return super().tap_channels() | self.head.tap_channels()

    def read(self, features: BevFeatures, voxels: Voxels) -> AnchorPrediction:
        head, bounds = self.settings.head, self.config.data.range
        anchors = []
        for number, level in enumerate(features.levels):
            places = anchor_places(level.coordinates, level.stride, voxels, bounds, head)  # (S_i, 2)
            scale = head.scales[min(number, len(head.scales) - 1)]
            anchors.append(place_anchors(places, self._anchors, head.headings, scale))  # (S_i, A, 7)
        return self.head(features.levels, voxels, torch.cat(anchors))

    def nothing(self, frames: int, device: torch.device) -> AnchorPrediction:
        return self.head.nothing(frames, device)

    def loss(self, prediction: AnchorPrediction, batch: Batch) -> dict[str, Tensor]:
        return detection_loss(prediction, batch, self._anchors, self.settings.loss, self.settings.head)

    @torch.no_grad()
    def detect(self, prediction: AnchorPrediction) -> list[Detections]:
        return detect(prediction, self.settings.nms, self.settings.head.direction_offset)
