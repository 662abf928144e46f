"""CenterPoint (Yin, Zhou & Krähenbühl, CVPR 2021) on sparse tensors, from points to boxes."""

import torch
from torch import Tensor

from mink_pd.config import Config
from mink_pd.config.centerpoint import CenterDetectorConfig, CenterPointPillarsConfig, CenterPointVoxelsConfig
from mink_pd.data.loading.batch import Batch
from mink_pd.models.bev_detector import BevDetector
from mink_pd.models.compress import width
from mink_pd.models.detector import Detections
from mink_pd.models.heads.box_layout import BoxLayout
from mink_pd.models.heads.center_decode import detect
from mink_pd.models.heads.center_head import CenterHead, CenterPrediction
from mink_pd.models.heads.center_loss import center_loss
from mink_pd.models.layers.bev import BevFeatures
from mink_pd.models.layers.encoder import BevEncoder
from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.models.layers.sparse_encoder import SparseEncoder
from mink_pd.registry import DETECTORS
from mink_pd.sparse import Voxels


class CenterDetector(BevDetector[CenterPrediction]):
    """A detector with a centre head."""

    settings: CenterDetectorConfig
    ignores = True

    def __init__(self, config: Config, encoder: BevEncoder) -> None:
        super().__init__(config, encoder)
        model = config.model
        assert isinstance(model, CenterDetectorConfig)
        self.tasks = [[self.classes.index(name) for name in group] for group in model.groups(self.classes)]
        self.head = CenterHead(
            self.neck_channels,
            width(model.head.channels, model.compression),
            self.tasks,
            dense=model.bev == "dense",
            velocity=model.head.velocity,
            iou=model.head.iou,
        )
        task_of = {label: task for task, classes in enumerate(self.tasks) for label in classes}
        self.task_of: Tensor  # (classes,)
        self.register_buffer(
            "task_of", torch.tensor([task_of[label] for label in range(len(self.classes))]), persistent=False
        )

    def tap_channels(self) -> dict[str, int]:
        return super().tap_channels() | self.head.tap_channels()

    def box_layout(self) -> BoxLayout:
        """One box per task: offsets within the cell, heights within the range, sizes from 0.4 to 8 m."""
        low, high = self.config.data.range[2], self.config.data.range[5]
        middle = (0.5, 0.5, (low + high) / 2, 0.6, 0.6, 0.6, 0.0, 0.0)
        spread = (0.5, 0.5, (high - low) / 2, 1.5, 1.5, 1.5, 1.0, 1.0)
        return BoxLayout(tuple(self.task_of.tolist()), middle, spread)

    def read(self, features: BevFeatures, voxels: Voxels) -> CenterPrediction:
        return self.head(features.levels[0], voxels)

    def nothing(self, frames: int, device: torch.device) -> CenterPrediction:
        return self.head.nothing(frames, device)

    def loss(self, prediction: CenterPrediction, batch: Batch) -> dict[str, Tensor]:
        return center_loss(prediction, batch, self.task_of, self.config.data.range, self.settings.loss)

    @torch.no_grad()
    def detect(self, prediction: CenterPrediction) -> list[Detections]:
        return detect(prediction, self.tasks, self.settings.nms, self.settings.head)


@DETECTORS.register("centerpoint_pillars")
class CenterPointPillars(CenterDetector):
    """Pillars (M, 64) -> three stages -> neck (S, 384) at the stride of one of them -> heatmaps and boxes."""

    Settings = CenterPointPillarsConfig

    def __init__(self, config: Config) -> None:
        super().__init__(config, PillarFeatureNet.of(config))


@DETECTORS.register("centerpoint_voxels")
class CenterPointVoxels(CenterDetector):
    """Mean of each voxel -> residual sparse 3D encoder, stride 8 -> heights stacked (S, 256) -> two stages -> neck
    (N, 512) at stride 8 -> heatmaps and boxes."""

    Settings = CenterPointVoxelsConfig

    def __init__(self, config: Config) -> None:
        super().__init__(config, SparseEncoder.of(config))
