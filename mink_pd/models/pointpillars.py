"""PointPillars (Lang et al., CVPR 2019) on sparse tensors, from points to boxes."""

from mink_pd.config import Config
from mink_pd.config.models import PointPillarsConfig
from mink_pd.data.batch import Batch
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.compress import width
from mink_pd.models.detector import AnchorPrediction
from mink_pd.models.pillars import PillarFeatureNet
from mink_pd.models.taps import SiteTap
from mink_pd.sparse import Voxels, voxelise


class PointPillars(AnchorDetector):
    """Pillars -> three stages (strides 2, 4, 8) -> neck at stride 2, or at all three -> anchors."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        model, bounds = config.model, config.data.range
        assert isinstance(model, PointPillarsConfig)
        self._pillar_channels = width(model.pillar_channels, model.compression)
        height = (bounds[2] + bounds[5]) / 2
        self.pillars = PillarFeatureNet(
            self._pillar_channels, height, model.max_points, model.empty_slots, config.data.point_features
        )
        self.build_bev(self._pillar_channels, stride=1)

    def tap_channels(self) -> dict[str, int]:
        return {"pillars": self._pillar_channels} | super().tap_channels()

    def voxelise(self, batch: Batch) -> Voxels:
        data, model = self.config.data, self.settings
        return voxelise(batch.points, batch.frame, len(batch), model.voxel_size, data.range, dimensions=2)

    def forward(self, batch: Batch, voxels: Voxels | None = None) -> AnchorPrediction:
        voxels = self.voxelise(batch) if voxels is None else voxels
        if len(voxels) == 0:
            return self.head.nothing(len(batch), batch.points.device)
        pillars = voxels.tensor(self.pillars(voxels))  # (M, 64), stride 1
        # stages (M1, 64), (M2, 128), (M3, 256) at strides 2, 4, 8; neck (S, 384) at stride 2, or (S, 256) at each
        prediction = self.predict(pillars, voxels)
        prediction.taps["pillars"] = SiteTap(pillars, voxels)
        return prediction
