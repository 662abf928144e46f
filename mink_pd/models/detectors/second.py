"""SECOND (Yan et al., Sensors 2018) on sparse tensors, from points to boxes."""

from mink_pd.config import Config
from mink_pd.config.models import SecondConfig
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.layers.sparse_encoder import SparseEncoder
from mink_pd.registry import DETECTORS


@DETECTORS.register("second")
class Second(AnchorDetector):
    """Mean of each voxel (M, 4) -> sparse 3D encoder (E, 128), stride 8 -> heights stacked (S, 256) -> two stages
    (S, 128), (S2, 256) at strides 8, 16 -> neck (N, 512) at stride 8 -> anchors."""

    Settings = SecondConfig

    def __init__(self, config: Config) -> None:
        super().__init__(config, SparseEncoder.of(config))
