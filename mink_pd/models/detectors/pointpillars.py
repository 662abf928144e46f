"""PointPillars (Lang et al., CVPR 2019) on sparse tensors, from points to boxes."""

from mink_pd.config import Config
from mink_pd.config.models import PointPillarsConfig
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.registry import DETECTORS


@DETECTORS.register("pointpillars")
class PointPillars(AnchorDetector):
    """Pillars (M, 64) -> three stages (M1, 64), (M2, 128), (M3, 256) at strides 2, 4, 8 -> neck (S, 384) at stride 2,
    or (S, 256) at all three -> anchors."""

    Settings = PointPillarsConfig

    def __init__(self, config: Config) -> None:
        super().__init__(config, PillarFeatureNet.of(config))
