"""How OpenPCDet and MMDetection3D name the layers of PointPillars and SECOND, and what their numbers mean."""

from dataclasses import dataclass
from typing import Literal

from mink_pd.convert.bev_names import Names, backbone_names, plain_encoder_names
from mink_pd.models.anchor_detector import AnchorDetector
from mink_pd.models.layers.pillars import PillarFeatureNet
from mink_pd.models.layers.sparse_encoder import SparseEncoder


@dataclass(frozen=True)
class AnchorNames:
    """Names of the parts; ``first`` is the number of the first convolution in a block of the backbone.

    legacy_pillars: a point's channels are x, y, z from the pillar's centre, intensity, x, y, z from the points' mean,
    and x, y, z from the centre again. box_z: where the z of a box is; first_label: the number of the first class.
    """

    pillars: str
    encoder: str
    encoder_stage: str
    backbone: str
    first: int
    neck: str
    head: str
    box: str
    legacy_pillars: bool
    box_z: Literal["centre", "bottom"]
    first_label: int

    def modules(self, detector: AnchorDetector) -> Names:
        """Names of every module with weights: theirs, ours."""
        if isinstance(detector.encoder, PillarFeatureNet):
            yield f"{self.pillars}.linear", "encoder.linear"
            yield f"{self.pillars}.norm", "encoder.norm"
        if isinstance(detector.encoder, SparseEncoder):
            yield from plain_encoder_names(detector.encoder, self.encoder, self.encoder_stage)
        yield from backbone_names(detector, self.backbone, self.first, self.neck)
        for theirs, ours in (("conv_cls", "score"), (self.box, "box"), ("conv_dir_cls", "direction")):
            yield f"{self.head}.{theirs}", f"head.{ours}"


OPENPCDET = AnchorNames(
    pillars="vfe.pfn_layers.0",
    encoder="backbone_3d",
    encoder_stage="backbone_3d.conv",
    backbone="backbone_2d.blocks",
    first=1,  # a padding module takes number 0
    neck="backbone_2d.deblocks",
    head="dense_head",
    box="conv_box",
    legacy_pillars=False,
    box_z="centre",
    first_label=1,
)
MMDET3D = AnchorNames(
    pillars="voxel_encoder.pfn_layers.0",
    encoder="middle_encoder",
    encoder_stage="middle_encoder.encoder_layers.encoder_layer",
    backbone="backbone.blocks",
    first=0,
    neck="neck.deblocks",
    head="bbox_head",
    box="conv_reg",
    legacy_pillars=True,
    box_z="bottom",
    first_label=0,
)
